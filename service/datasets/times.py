"""Reads times: which form a column is written in, how far apart its timesteps are."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

# The most specific first where one form could be read as another.
FORMATS = (
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S%.f",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S%.f",
    "%m/%d/%Y",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S%.f",
    "%d/%m/%Y",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y %H:%M:%S%.f",
)
UNDECIDED = "days and months cannot be told apart; write times as YYYY-MM-DD"
TIME_STARTS = r"^\s*\d{1,4}[-/.]\d{1,2}"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Numbers count as seconds or milliseconds since 1970 only between 1980 and 2100.
EARLIEST_EPOCH, LATEST_EPOCH = 315_532_800_000_000, 4_102_444_800_000_000

MINUTE, HOUR, DAY, WEEK = 60, 3_600, 86_400, 604_800
SEASONS = {"15m": 96, "30m": 48, "1h": 24, "1d": 7, "1w": 52, "1mo": 12, "1q": 4, "1y": 1}
REGULAR_SHARE = 0.5


def possible_formats(cells: pl.Series) -> list[str]:
    """Those of `FORMATS` that some of these texts fit; none unless one fits most of them."""
    filled = cells.drop_nulls()
    if filled.is_empty() or not filled.head(100).str.contains(TIME_STARTS).mean():
        return []
    counts = {form: int(parse(filled, form).is_not_null().sum()) for form in FORMATS}
    if max(counts.values()) <= len(filled) // 2:
        return []
    return [form for form, count in counts.items() if count]


def parse(cells: pl.Series, form: str) -> pl.Series:
    """Microseconds since 1970 in UTC, as integers; null where a cell is not of this form."""
    stripped = cells.str.strip_chars()
    return stripped.str.to_datetime(form, time_unit="us", strict=False).to_physical()


def from_microseconds(value: int) -> datetime:
    return EPOCH + timedelta(microseconds=value)


def number_to_microseconds(times: NDArray[np.int64]) -> int | None:
    """What turns numbers into microseconds: seconds or milliseconds since 1970; None: neither."""
    low, high = int(times.min()), int(times.max())
    for scale in (1_000_000, 1_000):
        if low * scale >= EARLIEST_EPOCH and high * scale <= LATEST_EPOCH:
            return scale
    return None


def frequency(times: Iterable[NDArray[np.int64]]) -> tuple[str | None, int]:
    """Distance of two timesteps in sorted times (microseconds), and how many steps differ from it.

    Months, quarters and years are recognised by the calendar; otherwise it is the most common
    distance, if it is the distance of at least half of the steps.
    """
    steps = [np.diff(series) for series in times if len(series) > 1]
    if not steps:
        return None, 0
    seconds = np.concatenate(steps) / 1e6
    days = seconds / DAY
    for name, low, high in (("1mo", 28, 31), ("1q", 90, 92), ("1y", 365, 366)):
        regular = (days >= low) & (days <= high)
        # 28-day steps without exception are four weeks, not months.
        if regular.mean() >= REGULAR_SHARE and len(np.unique(days[regular])) > 1:
            return name, int((~regular).sum())
    values, counts = np.unique(seconds, return_counts=True)
    common = float(values[counts.argmax()])
    if counts.max() < REGULAR_SHARE * len(seconds):
        return None, 0
    return _named(common), int(len(seconds) - counts.max())


def _named(seconds: float) -> str | None:
    if seconds <= 0 or seconds != int(seconds):
        return None
    whole = int(seconds)
    for unit, size in (("w", WEEK), ("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def season_of(frequency: str | None) -> int | None:
    """Timesteps in the season that people expect of a frequency; None: no such custom."""
    if frequency is None:
        return None
    if frequency in SEASONS:
        return SEASONS[frequency]
    for unit, size in (("h", HOUR), ("m", MINUTE), ("s", 1)):
        count = frequency.removesuffix(unit)
        if count.isdigit():
            step = int(count) * size
            return DAY // step if DAY % step == 0 and DAY // step > 1 else None
    return None
