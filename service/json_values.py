"""Types of values that JSON lacks, for schemas that are strict: each says what it takes instead."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field


def is_text(value: Any) -> Any:
    """Lets a time's text through; raises ValueError for what would be read as seconds since 1970:
    numbers, and strings of digits."""
    if isinstance(value, str) and "-" not in value[1:]:
        raise ValueError("must be a time such as 2030-01-31T12:00:00Z")
    if not isinstance(value, str | datetime):
        raise ValueError("must be a text such as 2030-01-31T12:00:00Z")
    return value


def in_utc(time: datetime) -> datetime:
    """The same moment; raises ValueError for one that has no year in UTC, as nothing stores it."""
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time between the years 1 and 9999 in UTC") from None


Id = Annotated[UUID, Field(strict=False)]
Timestamp = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(is_text), AfterValidator(in_utc)
]
