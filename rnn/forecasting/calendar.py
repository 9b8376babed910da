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
    cycles = calendar_cycles(frequency)
    time_bt = timestep_times(starts, position_bt, frequency)
    day_bt = time_bt // DAY
    first, last = int(day_bt.min(initial=0)), int(day_bt.max(initial=0))
    if last - first < day_bt.size:  # many timesteps share a day
        features_btc = _day_features(np.arange(first, last + 1), cycles)[day_bt - first]
    else:
        features_btc = _day_features(day_bt, cycles)
    if "day" not in cycles:
        return features_btc
    return np.concatenate([_on_circle([(time_bt - day_bt * DAY) / DAY]), features_btc], axis=-1)


def _day_features(days: IntArray, cycles: Sequence[str]) -> FloatArray:
    """[..., features] of days since 1970 in the cycles that are longer than a day."""
    dates = days.astype("datetime64[D]")
    shares = []
    if "week" in cycles:  # 1970 began on a Thursday
        shares.append((days + 3) % 7 / 7)
    if "month" in cycles:
        shares.append(_share_passed(dates, "M"))
    if "year" in cycles:
        shares.append(_share_passed(dates, "Y"))
    return _on_circle(shares) if shares else np.zeros((*days.shape, 0))


def _share_passed(dates: NDArray[np.datetime64], period: str) -> FloatArray:
    """Share of its month or year that has passed at the beginning of each day."""
    periods = dates.astype(f"datetime64[{period}]")
    first = periods.astype("datetime64[D]")
    share: FloatArray = (dates - first) / ((periods + 1).astype("datetime64[D]") - first)
    return share


def _on_circle(shares: Sequence[FloatArray]) -> FloatArray:
    """[..., 2 * shares] sine and cosine of each share of a turn."""
    angles = [2 * np.pi * share for share in shares]
    return np.stack([turn(angle) for angle in angles for turn in (np.sin, np.cos)], axis=-1)


def timestep_times(starts: Sequence[datetime], position_bt: IntArray, frequency: str) -> IntArray:
    """[B, T] microseconds since 1970 in UTC. Steps of months keep the day of the month and the time
    of the start, as far as the month is long enough."""
    step, in_months = parse_frequency(frequency)
    start_b1 = np.array(
        [[(start - _EPOCH) // timedelta(microseconds=1)] for start in starts], dtype=np.int64
    )
    if not in_months:
        return start_b1 + position_bt * step
    month_b1 = start_b1.astype("datetime64[us]").astype("datetime64[M]")
    within_b1 = start_b1 - _microseconds(month_b1)
    month_bt = month_b1 + (position_bt * step).astype("timedelta64[M]")
    first_bt = _microseconds(month_bt)
    last_day_bt = _microseconds(month_bt + 1) - DAY - first_bt
    time_bt: IntArray = (
        first_bt + np.minimum(within_b1 - within_b1 % DAY, last_day_bt) + within_b1 % DAY
    )
    return time_bt


def _microseconds(months: NDArray[np.datetime64]) -> IntArray:
    """Since 1970, of the beginning of each month."""
    return months.astype("datetime64[us]").astype(np.int64)
