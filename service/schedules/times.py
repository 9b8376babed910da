"""When a cron expression comes next, by the wall clock of a time zone."""

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field

_FIELDS = "write five fields: minute, hour, day of the month, month, day of the week"
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def check_cron(text: str) -> str:
    """Raises ValueError for an expression that cannot be read or whose time never comes."""
    if len(text.split()) != 5:
        raise ValueError(_FIELDS)
    try:
        found = next(CronSim(text, _LONG_AGO), None)
    except CronSimError as error:
        raise ValueError(f"{error}; {_FIELDS}") from error
    if found is None:
        raise ValueError("no day fits it within fifty years")
    return text


def check_timezone(text: str) -> str:
    """Raises ValueError for a name that the IANA database does not have."""
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("is not a time zone such as Europe/Berlin or UTC") from error
    return text


Cron = Annotated[
    str,
    Field(
        max_length=100,
        description="Minute, hour, day of the month, month, day of the week.",
        examples=["30 4 * * MON"],
    ),
    AfterValidator(check_cron),
]
Timezone = Annotated[
    str,
    Field(max_length=64, description="IANA name of the clock that the times of `cron` are on."),
    AfterValidator(check_timezone),
]


def next_time(cron: str, timezone: str, after: datetime) -> datetime:
    """The first time of a checked expression after the moment `after`, in UTC.

    Where clocks go forward, a time that is left out comes at the end of the gap. Where they go
    back, a time that comes twice counts once, the first time. Expressions whose minute or hour
    begins with `*` mean intervals: they follow the time that passes, through both changes.
    """
    after = after.astimezone(UTC)
    for found in CronSim(cron, after.astimezone(ZoneInfo(timezone))):
        # Just after the clocks went back, the same time before they did comes first.
        if (moment := found.astimezone(UTC)) > after:
            return moment
    raise ValueError(f"{cron!r} never comes again")
