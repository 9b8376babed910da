"""Seasons and frequencies from numbers alone."""

import numpy as np
import pytest
from numpy.typing import NDArray

from service.datasets.seasons import find_season
from service.datasets.times import frequency, season_of

DAY = 86_400_000_000


def days(*numbers: int) -> list[NDArray[np.int64]]:
    return [np.array(numbers, dtype=np.int64) * DAY]


@pytest.mark.parametrize("season", [4, 7, 24, 52])
def test_a_season_is_found_under_trend_noise_and_gaps(season: int) -> None:
    generator = np.random.default_rng(season)
    time = np.arange(8 * season)
    values = 3 * time + 10 * np.sin(2 * np.pi * time / season) + generator.normal(size=len(time))
    values[:: season + 3] = np.nan
    assert find_season([values]) == season


def test_a_day_is_found_where_weeks_repeat_as_well() -> None:
    time = np.arange(24 * 7 * 6)
    values = np.sin(2 * np.pi * time / 24) + 0.4 * np.sin(2 * np.pi * time / 168)
    assert find_season([values]) == 24


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=500),
        np.random.default_rng(0).normal(size=500).cumsum(),
        np.arange(500.0),
        np.full(500, 7.0),
        np.array([1.0, 2.0, 1.0]),
        np.full(500, np.nan),
    ],
    ids=["noise", "walk", "trend", "constant", "short", "missing"],
)
def test_no_season_is_found_where_there_is_none(values: NDArray[np.float64]) -> None:
    assert find_season([values]) is None


def test_huge_values_do_not_overflow() -> None:
    assert find_season([1e300 * np.sin(2 * np.pi * np.arange(200) / 10)]) == 10


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (days(0, 31, 60, 91, 121), ("1mo", 0)),
        (days(0, 31, 60, 121), ("1mo", 1)),
        (days(0, 91, 182, 274), ("1q", 0)),
        (days(0, 366, 731, 1096), ("1y", 0)),
        (days(0, 28, 56, 84), ("4w", 0)),
        (days(0, 7, 14, 28), ("1w", 1)),
        (days(0, 1, 2, 3, 7, 8, 9), ("1d", 1)),
        (days(0, 1, 3, 7, 8, 20), (None, 0)),
        (days(5), (None, 0)),
        ([np.arange(9) * 900_000_000], ("15m", 0)),
        ([np.arange(9) * 1_500_000], (None, 0)),
    ],
)
def test_frequency_and_gaps(
    times: list[NDArray[np.int64]], expected: tuple[str | None, int]
) -> None:
    assert frequency(times) == expected


@pytest.mark.parametrize(
    ("name", "season"),
    [("1h", 24), ("1d", 7), ("1mo", 12), ("15m", 96), ("1q", 4), ("1w", 52), ("1y", 1),
     ("6h", 4), ("5m", 288), ("30s", 2880), ("7h", None), ("4w", None), (None, None)],
)  # fmt: skip
def test_the_season_that_goes_with_a_frequency(name: str | None, season: int | None) -> None:
    assert season_of(name) == season
