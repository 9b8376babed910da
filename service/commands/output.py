"""What commands print: tables for people, JSON for programs."""

import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH_IN_PIPES = 10_000

AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, for scripts.")]


def console() -> Console:
    """Made anew for each use: the streams of a test change. In a pipe no line is broken."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_IN_PIPES)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def printable(text: str) -> str:
    """The text without characters that steer a terminal: it may come from anyone."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(character) in ("Cc", "Cf") and character not in "\n\t\u200d"
        else character
        for character in text
    )


def cell(value: Any) -> Text:
    """One value of a table, never read as markup."""
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, float):
        return Text(f"{value:.4g}")
    if isinstance(value, list | dict):
        return Text(printable(json.dumps(value, ensure_ascii=False)))
    return Text(printable(str(value)))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name == "id")  # ids are copied
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    console().print(table)


def print_record(record: Mapping[str, Any]) -> None:
    """A record as lines of name and value; what is nested is shown with dotted names."""
    print_table(["field", "value"], list(_flat(record)))


def _flat(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in record.items():
        if isinstance(value, Mapping) and value:
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + str(name), value))
    return rows


def ago(timestamp: str | None) -> str | None:
    """How long ago an RFC 3339 time was, in one unit."""
    if timestamp is None:
        return None
    seconds = (datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds()
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"


def size(count: int) -> str:
    """Bytes in a unit that a person reads."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
