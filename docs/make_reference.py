"""Writes docs/configuration.md and docs/settings.md from the schemas that the code validates with.

    python docs/make_reference.py

A test compares the pages with what this prints, so they cannot grow old.
"""

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from rnn.config import ClassificationConfig, ForecastingConfig, GenerationConfig
from service.settings import Settings

FOLDER = Path(__file__).parent
TASKS = (ForecastingConfig, ClassificationConfig, GenerationConfig)


def allowed(schema: dict[str, Any]) -> str:
    """The values that one property takes, in words."""
    options = schema.get("anyOf", [schema])
    words = []
    for option in options:
        if "enum" in option:
            words.append(", ".join(f"`{value}`" for value in option["enum"]))
        elif option.get("type") == "null":
            words.append("`null`")
        else:
            low = option.get("minimum", option.get("exclusiveMinimum"))
            high = option.get("maximum", option.get("exclusiveMaximum"))
            word = {"boolean": "`true`, `false`", "string": "text", "array": "list"}.get(
                option.get("type", ""), option.get("type", "")
            )
            if low is not None:
                word += f", {'above' if 'exclusiveMinimum' in option else 'from'} {low}"
            if high is not None:
                word += f", {'below' if 'exclusiveMaximum' in option else 'to'} {high}"
            words.append(word)
    return " or ".join(words)


def default(value: object) -> str:
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


def table(model: type[BaseModel]) -> list[str]:
    properties = model.model_json_schema()["properties"]
    rows = ["| field | values | default | meaning |", "| --- | --- | --- | --- |"]
    for name, info in model.model_fields.items():
        value = default(info.get_default(call_default_factory=True))
        rows.append(
            f"| `{name}` | {allowed(properties[name])} | {value} | {info.description or ''} |"
        )
    return rows


def configuration() -> str:
    lines = [
        "# What a job can be told",
        "",
        "Made by `docs/make_reference.py` from `rnn/config/`; `/openapi.json` shows the same.",
        "Leave out what you do not want to choose: `task` and `dataset` are enough. A job's stored",
        "`config` shows every value that it was trained with.",
    ]
    for task in TASKS:
        name = task.model_fields["task"].annotation
        lines += ["", f"## {name.__args__[0]}"]  # type: ignore[union-attr]
        for part in ("architecture", "training", "serving", "data"):
            annotation = task.model_fields[part].annotation
            assert annotation is not None
            lines += ["", f"### {part}", "", *table(annotation)]
    return "\n".join(lines) + "\n"


def settings() -> str:
    lines = [
        "# Settings of the service",
        "",
        "Made by `docs/make_reference.py` from `service/settings.py`. Each is read from an",
        "environment variable with the prefix `REPRISE_`, such as `REPRISE_PORT`, or else from a",
        "file named like it in `/run/secrets`, such as `/run/secrets/reprise_database_url`.",
        "`reprise up` fills in the first three.",
        "",
        "| variable | default | meaning |",
        "| --- | --- | --- |",
    ]
    for name, info in Settings.model_fields.items():
        value = "needed" if info.default is PydanticUndefined else default(info.default)
        if isinstance(info.default, tuple):
            value = f"`{','.join(info.default)}`"
        lines.append(f"| `REPRISE_{name.upper()}` | {value} | {info.description or ''} |")
    return "\n".join(lines) + "\n"


PAGES = {"configuration.md": configuration, "settings.md": settings}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (FOLDER / page).write_text(make(), encoding="utf-8")
