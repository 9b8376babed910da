"""Bases of every body: what comes in is strict, what goes out is a view of a record.

A body is checked as Python values that were read from JSON, so types that JSON lacks need a
conversion that says what it takes: use those of `service.json_values`, and `Field(strict=False)`
for an enum. NUL and lone surrogates never get here: `service.api.strict_json` refuses them.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from service.json_values import in_utc, is_text


class StrictBody(BaseModel):
    """A request's body: no unknown field, no conversion, no NaN or infinity."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class View(BaseModel):
    """An answer's body, made from keyword arguments or from a record's attributes."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


# Beside ISO 8601. With slashes, day and month cannot be told apart where the year comes last.
_YEAR_FIRST = re.compile(r"(\d{4})[-/](\d{1,2})(?:[-/](\d{1,2})(\D.*)?)?", re.ASCII)
_DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(\D.*)?", re.ASCII)


def _to_iso(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if found := _YEAR_FIRST.fullmatch(value.strip()):
        year, month, day, clock = found.groups()
    elif found := _DAY_FIRST.fullmatch(value.strip()):
        day, month, year, clock = found.groups()
    else:
        return value
    return f"{year}-{month:0>2}-{day or '1':0>2}{clock or ''}"


def _in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else in_utc(time)


# As data sets write it: a date or a month alone will do, and without an offset it counts as UTC.
SeriesTime = Annotated[
    datetime,
    Field(strict=False),
    BeforeValidator(is_text),
    BeforeValidator(_to_iso),
    AfterValidator(_in_utc),
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"\S")]
