"""What a network is told of the calendar: where a timestep stands in its day, week, month, year.

Times follow from a series' start and the distance of its timesteps. Each place is a point on a
circle, so that the last hour of a day is next to the first.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from rnn.config.forecasting import FREQUENCY

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SECOND, DAY = 1_000_000, 86_400_000_000  # microseconds
_UNITS = {"s": SECOND, "m": 60 * SECOND, "h": 3_600 * SECOND, "d": DAY, "w": 7 * DAY}
_MONTHS = {"mo": 1, "q": 3, "y": 12}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_frequency(text: str) -> bool:
    return re.fullmatch(FREQUENCY, text) is not None


def parse_frequency(frequency: str) -> tuple[int, bool]:
    """The distance of two timesteps, "15m" to "1y": how many microseconds, or months (True)."""
    match = re.fullmatch(FREQUENCY, frequency)
    assert match is not None, "checked before"
    count, unit = int(match[1]), match[2]
    if unit in _MONTHS:
        return count * _MONTHS[unit], True
    return count * _UNITS[unit], False


def calendar_cycles(frequency: str) -> tuple[str, ...]:
    """The cycles in which timesteps of this distance take more than one place."""
    step, in_months = parse_frequency(frequency)
    if in_months:
        return ("year",) if step % 12 else ()
    cycles = []
    if step % DAY:
        cycles.append("day")
    if step % (7 * DAY):
        cycles.append("week")
    return (*cycles, "month", "year")


def calendar_features(
    starts: Sequence[datetime], position_bt: IntArray, frequency: str
) -> FloatArray:
    """[B, T, 2 * cycles] sine and cosine of the place in each of `calendar_cycles`.

    Args:
        starts: time of position 0 of each row.
        position_bt: [B, T] timesteps after the start, negative before it.
    """
    time_bt = timestep_times(starts, position_bt, frequency)
    day_bt = time_bt.astype("datetime64[D]")
    month_bt = time_bt.astype("datetime64[M]")
    year_bt = time_bt.astype("datetime64[Y]")
    shares = []
    for cycle in calendar_cycles(frequency):
        if cycle == "day":
            shares.append((time_bt - day_bt).astype(np.int64) / DAY)
        elif cycle == "week":  # 1970 began on a Thursday
            shares.append((day_bt.astype(np.int64) + 3) % 7 / 7)
        elif cycle == "month":
            shares.append(_place(day_bt, month_bt))
        else:
            shares.append(_place(day_bt, year_bt))
    if not shares:
        return np.zeros((*position_bt.shape, 0))
    angle_btc = 2 * np.pi * np.stack(shares, axis=2)
    return np.concatenate([np.sin(angle_btc), np.cos(angle_btc)], axis=2)


def timestep_times(
    starts: Sequence[datetime], position_bt: IntArray, frequency: str
) -> NDArray[np.datetime64]:
    """[B, T] times in UTC, to the microsecond. Steps of months keep the time within the month, as
    far as the month is long enough."""
    step, in_months = parse_frequency(frequency)
    microseconds_b = np.array(
        [(start - _EPOCH) // timedelta(microseconds=1) for start in starts], dtype=np.int64
    )
    start_b1 = microseconds_b[:, None].astype("datetime64[us]")
    time_bt: NDArray[np.datetime64]
    if not in_months:
        time_bt = start_b1 + (position_bt * step).astype("timedelta64[us]")
        return time_bt
    month_b1 = start_b1.astype("datetime64[M]")
    within_b1 = start_b1 - month_b1.astype("datetime64[us]")
    month_bt = month_b1 + (position_bt * step).astype("timedelta64[M]")
    first_bt = month_bt.astype("datetime64[us]")
    longest_bt = (month_bt + 1).astype("datetime64[us]") - first_bt - np.timedelta64(DAY, "us")
    whole_days_b1 = within_b1.astype("timedelta64[D]").astype("timedelta64[us]")
    time_bt = first_bt + np.minimum(whole_days_b1, longest_bt) + (within_b1 - whole_days_b1)
    return time_bt


def _place(day_bt: NDArray[np.datetime64], period_bt: NDArray[np.datetime64]) -> FloatArray:
    """Share of a month or a year that has passed at the beginning of a day."""
    first_bt = period_bt.astype("datetime64[D]")
    next_bt = (period_bt + 1).astype("datetime64[D]")
    place_bt: FloatArray = (day_bt - first_bt) / (next_bt - first_bt)
    return place_bt
