"""The form of a job, out of the schema of its request: each choice with its help and range."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple

from rnn.config import TaskName
from service.jobs.requests import ClassificationJob, ForecastingJob, GenerationJob, JobFields

Schema = Mapping[str, Any]
Kind = Literal[
    "integer", "number", "text", "choice", "boolean", "integers", "texts", "json", "group"
]

REQUESTS: dict[TaskName, type[JobFields]] = {
    "time-series-forecasting": ForecastingJob,
    "text-classification": ClassificationJob,
    "text-generation": GenerationJob,
}
PARTS = ("architecture", "training", "data", "serving")
CHOSEN_ABOVE = {"task", "dataset"}


class FormField(NamedTuple):
    """One choice.

    Attributes:
        path: its place in the request, with dots.
        default: as JSON.
        may_be_null: where that is not its default.
        least, most: the limits of a number as far as a browser can check them.
        range: all its limits in words; empty without any.
    """

    path: str
    help: str
    kind: Kind
    default: str
    may_be_null: bool
    least: float | None
    most: float | None
    range: str
    options: tuple[str, ...]

    @property
    def label(self) -> str:
        """Its name, after that of the choice that it is a part of."""
        names = self.path.split(".")
        return ", ".join(names[1:] or names).replace("_", " ")


class Section(NamedTuple):
    title: str
    fields: list[FormField]


@cache
def sections(task: TaskName) -> list[Section]:
    """Everything that a request for a task can say besides its task and data set."""
    schema = REQUESTS[task].model_json_schema()
    definitions = schema["$defs"]
    top = {
        name: each
        for name, each in schema["properties"].items()
        if name not in PARTS and name not in CHOSEN_ABOVE
    }
    found = [Section("Job", list(_fields(top, definitions, "")))]
    for part in PARTS:
        properties = _resolved(schema["properties"][part], definitions)["properties"]
        found.append(Section(part.capitalize(), list(_fields(properties, definitions, f"{part}."))))
    return found


def _fields(
    properties: Mapping[str, Schema], definitions: Mapping[str, Schema], prefix: str
) -> Iterator[FormField]:
    for name, raw in properties.items():
        branches = [_resolved(each, definitions) for each in raw.get("anyOf", [raw])]
        value = next(each for each in branches if each.get("type") != "null")
        default = raw.get("default", {} if value["type"] == "object" else [])
        kind = _kind(value, definitions)
        yield FormField(
            path=prefix + name,
            help=raw.get("description") or value.get("description", ""),
            kind=kind,
            default=json.dumps(default),
            may_be_null=default is not None and len(branches) > 1,
            least=value.get("minimum", value.get("exclusiveMinimum")),
            most=value.get("maximum", value.get("exclusiveMaximum")),
            range=_range(value),
            options=tuple(value.get("enum", ())),
        )
        if kind == "group":
            yield from _fields(value["properties"], definitions, f"{prefix}{name}.")


def _resolved(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    reference = schema.get("$ref")
    return schema if reference is None else definitions[reference.rpartition("/")[2]]


def _kind(value: Schema, definitions: Mapping[str, Schema]) -> Kind:
    if "enum" in value:
        return "choice"
    match value["type"]:
        case "integer" | "number" | "boolean" as simple:
            return simple  # type: ignore[no-any-return]
        case "string":
            return "text"
        case "object" if "properties" in value:
            return "group"
        case "array":
            items = _resolved(value["items"], definitions)
            kinds: dict[str, Kind] = {"integer": "integers", "string": "texts"}
            return kinds.get(items["type"], "json")
    return "json"


def _range(value: Schema) -> str:
    words = [
        f"{word} {value[name]:,}" if name in value else ""
        for name, word in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "to"),
            ("exclusiveMaximum", "below"),
        )
    ]
    return ", ".join(filter(None, words)).replace(", to", " to")
