"""Rows of a JSON Lines file: one object a line, of texts, numbers and lists of numbers."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from service.datasets.batches import BATCH_BYTES, BATCH_CELLS, BATCH_ROWS, Batch, check_text
from service.datasets.csv_rows import MAX_NAME_CHARS
from service.datasets.limits import Limits
from service.datasets.lines import Lines
from service.datasets.places import Place, shown, wrong
from service.errors import (
    DatasetEmptyError,
    DatasetNonfiniteError,
    DatasetTooWideError,
    DatasetUnparseableError,
    DatasetUnsafeTextError,
)

NUMBERS = frozenset({int, float, type(None)})

# In order of appearance; whether the column holds lists, None while it held nothing but null.
Names = dict[str, bool | None]


def read(
    path: Path, limits: Limits, columns: Sequence[str] | None, *, batch_rows: int = BATCH_ROWS
) -> Iterator[Batch]:
    """Batches of the file's rows; see `table.read_batches`."""
    wanted = None if columns is None else frozenset(columns)
    lines = Lines(path, limits.max_row_bytes)
    names: Names = {}
    rows: list[dict[str, Any]] = []
    line_numbers: list[int] = []
    digests: list[int] = []
    number = cells = batch_bytes = 0
    for line in lines:
        size, lines.row_bytes = lines.row_bytes, 0
        if not line.strip():
            continue
        number += 1
        place = Place(number, lines.number)
        row = _object(line, place)
        for name, value in row.items():
            if name not in names:
                _check_name(name, place, names, limits)
                names[name] = None
            if wanted is not None and name not in wanted:
                continue
            _check_kind(name, value, names, place)
            row[name] = _cell(value, Place(number, lines.number, name), size, lines, limits)
            cells += len(value) if isinstance(value, list) else 1
        rows.append(row)
        line_numbers.append(lines.number)
        digests.append(hash(line.rstrip()))
        batch_bytes += size
        if len(rows) >= batch_rows or cells >= BATCH_CELLS or batch_bytes >= BATCH_BYTES:
            yield _batch(number, line_numbers, digests, rows, names, wanted)
            rows, line_numbers, digests, cells, batch_bytes = [], [], [], 0, 0
    if number == 0:
        raise DatasetEmptyError("the file holds no JSON object")
    if rows:
        yield _batch(number, line_numbers, digests, rows, names, wanted)


def _object(line: str, place: Place) -> dict[str, Any]:
    """One line as an object whose keys are unique."""
    try:
        value = json.loads(line, object_pairs_hook=_unique, parse_constant=_no_constant)
    except _Said as error:
        raise wrong(error.kind, place, str(error)) from None
    except RecursionError:
        raise wrong(DatasetUnparseableError, place, "the JSON is nested too deep") from None
    except json.JSONDecodeError as error:
        message = f"not JSON: {error.msg} at character {error.colno}"
        raise wrong(DatasetUnparseableError, place, message) from None
    except ValueError:  # the limit of the integer parser
        message = "an integer has more digits than any number here needs"
        raise wrong(DatasetUnparseableError, place, message) from None
    if not isinstance(value, dict):
        message = f"an object {{...}} must stand on each line, not {shown(line.strip())}"
        raise wrong(DatasetUnparseableError, place, message)
    return value


class _Said(Exception):  # noqa: N818 - it carries a message out of the parser
    def __init__(
        self, kind: type[DatasetUnparseableError] | type[DatasetNonfiniteError], message: str
    ) -> None:
        super().__init__(message)
        self.kind = kind


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _Said(DatasetUnparseableError, f"the key {shown(twice)} stands twice in one object")
    return row


def _no_constant(name: str) -> float:
    raise _Said(DatasetNonfiniteError, f"{name} is not a finite number; write null for a gap")


def _check_name(name: str, place: Place, names: Names, limits: Limits) -> None:
    if len(names) >= limits.max_columns:
        message = f"more than the {limits.max_columns} columns that are allowed"
        raise wrong(DatasetTooWideError, place, message)
    if not name.strip() or len(name) > MAX_NAME_CHARS:
        message = f"the key {shown(name)} is blank or longer than {MAX_NAME_CHARS} characters"
        raise wrong(DatasetUnparseableError, place, message)
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        name = "\0"
    if "\0" in name:
        raise wrong(DatasetUnsafeTextError, place, "a key holds a forbidden character")


def _check_kind(name: str, value: object, names: Names, place: Place) -> None:
    """A column holds lists or it does not; null fits both."""
    if value is None:
        return
    is_list = isinstance(value, list)
    if names[name] is None:
        names[name] = is_list
    elif names[name] != is_list:
        what = "a list" if is_list else shown(value)
        before = "single values" if is_list else "lists"
        message = f"{what} in a column that held {before} before"
        raise wrong(DatasetUnparseableError, Place(place.row, place.line, name), message)


def _cell(value: Any, place: Place, line_bytes: int, lines: Lines, limits: Limits) -> Any:
    """A value as a batch holds it: text, null or a list of floats."""
    kind = type(value)
    if kind is str:
        if lines.has_nul or lines.has_escape or line_bytes > limits.max_cell_bytes:
            check_text(value, place, limits)
        return value or None
    if value is None:
        return None
    if kind is int or kind is float:
        if not _is_finite(value):
            message = f"{shown(value)} is not a finite number"
            raise wrong(DatasetNonfiniteError, place, message)
        return repr(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is list:
        return _numbers(value, place)
    message = f"{shown(json.dumps(value))}; a cell is a text, a number or a list of numbers"
    raise wrong(DatasetUnparseableError, place, message)


def _numbers(values: list[Any], place: Place) -> list[float | None]:
    if not NUMBERS.issuperset(map(type, values)):
        index = next(i for i, value in enumerate(values) if type(value) not in NUMBERS)
        message = f"{shown(values[index])} at index {index} of the list is not a number"
        raise wrong(DatasetNonfiniteError, place, message)
    try:
        numbers = [None if value is None else float(value) for value in values]
        finite = all(value is None or math.isfinite(value) for value in numbers)
    except OverflowError:
        finite = False
    if not finite:
        index = next(i for i, v in enumerate(values) if v is not None and not _is_finite(v))
        message = f"{shown(values[index])} at index {index} of the list is not a finite number"
        raise wrong(DatasetNonfiniteError, place, message)
    return numbers


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        return False


def _batch(
    last_row: int,
    lines: list[int],
    digests: list[int],
    rows: list[dict[str, Any]],
    names: Names,
    wanted: frozenset[str] | None,
) -> Batch:
    columns = {
        name: pl.Series(
            name,
            [row.get(name) for row in rows],
            dtype=pl.List(pl.Float64) if is_list else pl.String,
        )
        for name, is_list in names.items()
        if wanted is None or name in wanted
    }
    return Batch(
        last_row - len(rows) + 1, lines, np.array(digests, dtype=np.int64), pl.DataFrame(columns)
    )
