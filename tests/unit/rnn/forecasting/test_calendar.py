from datetime import UTC, datetime

import numpy as np
import pytest

from rnn.forecasting.calendar import (
    calendar_cycles,
    calendar_features,
    is_frequency,
    timestep_times,
)

START = datetime(2024, 2, 28, 18, tzinfo=UTC)  # a Wednesday; 2024 has a 29th of February


def features(start: datetime, positions: list[int], frequency: str) -> np.ndarray:
    found: np.ndarray = calendar_features([start], np.array([positions]), frequency)[0]
    return found


@pytest.mark.parametrize(
    ("frequency", "cycles"),
    [
        ("15m", ("day", "week", "month", "year")),
        ("1h", ("day", "week", "month", "year")),
        ("36h", ("day", "week", "month", "year")),
        ("1d", ("week", "month", "year")),
        ("1w", ("month", "year")),
        ("7d", ("month", "year")),
        ("1mo", ("year",)),
        ("1q", ("year",)),
        ("1y", ()),
        ("12mo", ()),
    ],
)
def test_cycles_that_change_at_a_frequency(frequency: str, cycles: tuple[str, ...]) -> None:
    assert calendar_cycles(frequency) == cycles
    assert features(START, [0, 1, 2], frequency).shape == (3, 2 * len(cycles))


def test_places_of_hours_on_the_circle() -> None:
    sine_cosine = features(START, [0, 6, 12], "1h")
    # 18 o'clock, midnight (the 29th, a Thursday) and 6 o'clock.
    np.testing.assert_allclose(sine_cosine[:, 0], [-1, 0, 1], atol=1e-12)
    np.testing.assert_allclose(sine_cosine[:, 1], [0, 1, 0], atol=1e-12)
    week = 2 * np.pi * np.array([2, 3, 3]) / 7
    np.testing.assert_allclose(sine_cosine[:, 2], np.sin(week))
    month = 2 * np.pi * np.array([27, 28, 28]) / 29
    np.testing.assert_allclose(sine_cosine[:, 4], np.sin(month), atol=1e-12)
    year = 2 * np.pi * np.array([58, 59, 59]) / 366
    np.testing.assert_allclose(sine_cosine[:, 7], np.cos(year))


def test_every_feature_is_a_point_on_a_circle_at_any_time() -> None:
    positions = np.arange(-500, 500)[None, :]
    sine_cosine = calendar_features([START], positions, "1h")[0]
    np.testing.assert_allclose(sine_cosine[:, ::2] ** 2 + sine_cosine[:, 1::2] ** 2, 1)


@pytest.mark.parametrize("frequency", ["10m", "1d", "1w", "1mo"])
def test_few_timesteps_are_coded_as_among_many(frequency: str) -> None:
    starts = [START, datetime(1999, 7, 4, 3, 20, tzinfo=UTC)]
    positions = np.arange(-40, 400) + np.zeros((2, 1), dtype=np.int64)
    together = calendar_features(starts, positions, frequency)
    for row, column in ((0, 0), (0, 439), (1, 41)):
        alone = calendar_features([starts[row]], positions[row : row + 1, [column]], frequency)
        assert np.array_equal(alone[0, 0], together[row, column])


def test_steps_of_months_follow_the_calendar() -> None:
    start = datetime(2023, 12, 31, 6, tzinfo=UTC)
    times = timestep_times([start], np.array([[-1, 0, 1, 2, 3]]), "1mo")[0]
    assert [str(time)[:13] for time in times.astype("datetime64[us]")] == [
        "2023-11-30T06",
        "2023-12-31T06",
        "2024-01-31T06",
        "2024-02-29T06",
        "2024-03-31T06",
    ]


def test_each_row_has_its_own_start() -> None:
    starts = [datetime(2024, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 30, tzinfo=UTC)]
    times = timestep_times(starts, np.array([[0, 1], [0, 2]]), "30s")
    assert times.astype("datetime64[us]").astype(str).tolist() == [
        ["2024-01-01T00:00:00.000000", "2024-01-01T00:00:30.000000"],
        ["1969-12-31T23:59:30.000000", "1970-01-01T00:00:30.000000"],
    ]


@pytest.mark.parametrize("text", ["", "h", "0h", "1 h", "1hour", "-1h", "1.5h", "1234567s"])
def test_what_is_no_frequency(text: str) -> None:
    assert not is_frequency(text)
