"""The M4 yardstick: seasons are found where they are, and nowhere else."""

import numpy as np
import pytest

from rnn.forecasting.naive import Naive2


def forecast(values: np.ndarray, season_length: int, horizon: int) -> np.ndarray:
    last_at = np.flatnonzero(~np.isnan(values))[-1:]
    ahead_bh = len(values) + np.arange(horizon)[None, :]
    return Naive2.fit(values, season_length).forecast(values[last_at], last_at, ahead_bh)[0]


@pytest.mark.parametrize("season_length", [4, 5])
def test_a_multiplicative_season_goes_on_from_the_last_value(season_length: int) -> None:
    factor = np.linspace(0.5, 1.5, season_length)
    values = 100 * np.resize(factor, 10 * season_length + 2)
    expected = 100 * np.resize(factor, len(values) + 7)[len(values) :]
    np.testing.assert_allclose(forecast(values, season_length, 7), expected, rtol=1e-9)


def test_missing_values_leave_the_season_and_its_phase_alone() -> None:
    factor = np.array([1.0, 2.0, 3.0, 2.0])
    values = np.resize(factor, 60)
    values[[17, 30, 59]] = np.nan
    np.testing.assert_allclose(forecast(values, 4, 5), [1, 2, 3, 2, 1], rtol=1e-9)


def test_noise_has_no_season() -> None:
    values = 10 + np.random.default_rng(0).normal(size=200)
    assert forecast(values, 12, 3).tolist() == [values[-1]] * 3


@pytest.mark.parametrize(
    "values", [np.resize([1.0, -1.0], 40), np.resize([1.0, 2.0], 5), np.ones(40)]
)
def test_without_a_usable_season_it_is_the_last_value(values: np.ndarray) -> None:
    assert forecast(values, 2, 2).tolist() == [values[-1]] * 2
