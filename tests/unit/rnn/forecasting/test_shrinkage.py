"""Forecasts are drawn back to their base as far as held-out windows do not speak for them."""

import numpy as np
import pytest

from rnn.config import ForecastingConfig
from rnn.data.examples import SeriesExamples
from rnn.errors import CheckpointError
from rnn.forecasting.decoding import Forecast
from rnn.forecasting.shrinkage import NO_SHRINKAGE, Shrinkage
from tests.unit.rnn.trainings import finished


def fitted(signal: float, windows: int = 200, groups: int = 200) -> float:
    """The share of corrections of size 1, of which the truth has so much."""
    random = np.random.default_rng(0)
    correction_bh = random.normal(size=(windows, 5))
    residual_bh = signal * correction_bh + random.normal(size=(windows, 5))
    return Shrinkage.fit(correction_bh, residual_bh, np.arange(windows) % groups).share


def test_a_forecast_that_knows_half_of_what_it_says_is_halved() -> None:
    assert fitted(0.5) == pytest.approx(0.5, abs=0.08)


def test_one_that_knows_nothing_is_dropped_and_none_is_made_larger() -> None:
    assert fitted(-0.5) == 0
    assert 0.99 < fitted(2.0) <= 1


def test_what_could_be_chance_is_trusted_less() -> None:
    """The same windows say less where they are fewer independent ones."""
    random = np.random.default_rng(1)
    correction_bh = random.normal(size=(10, 5))
    residual_bh = 0.3 * correction_bh + random.normal(size=(10, 5))
    alone = Shrinkage.fit(correction_bh, residual_bh, np.arange(10)).share
    again = Shrinkage.fit(
        np.tile(correction_bh, (20, 1)), np.tile(residual_bh, (20, 1)), np.arange(200) % 10
    ).share
    least_squares = (correction_bh * residual_bh).sum() / (correction_bh**2).sum()
    assert again == pytest.approx(alone)
    assert 0 <= alone < least_squares


def test_too_few_groups_to_tell_leave_the_forecast_as_it_is() -> None:
    assert fitted(-0.5, groups=7) == 1


def test_what_was_not_observed_says_nothing() -> None:
    random = np.random.default_rng(0)
    correction_bh = random.normal(size=(100, 5))
    residual_bh = correction_bh.copy()
    residual_bh[:, 2:] = np.nan
    assert Shrinkage.fit(correction_bh, residual_bh, np.arange(100)).share == 1


def test_mean_and_quantiles_are_drawn_to_the_base() -> None:
    forecast = Forecast(np.array([[5.0, 8.0]]), np.array([[[4.0, 6.0], [7.0, 9.0]]]))
    base_bh = np.array([[1.0, 2.0]])
    halved = Shrinkage(0.5).applied(forecast, base_bh)
    assert halved.mean_bh.tolist() == [[3.0, 5.0]]
    assert halved.quantiles_bhq.tolist() == [[[2.5, 3.5], [4.5, 5.5]]]
    assert np.array_equal(Shrinkage(0.0).applied(forecast, base_bh).mean_bh, base_bh)
    assert NO_SHRINKAGE.applied(forecast, base_bh) is forecast


def test_it_is_stored_and_models_without_it_are_left_alone() -> None:
    assert Shrinkage.from_values(Shrinkage(0.25).to_values()) == Shrinkage(0.25)
    assert Shrinkage.from_values({}) == NO_SHRINKAGE


@pytest.mark.parametrize("share", [1.5, -0.1, float("nan"), "half", None])
def test_a_stored_share_that_is_none_is_refused(share: object) -> None:
    with pytest.raises(CheckpointError, match="shrinkage"):
        Shrinkage.from_values({"shrinkage": share})


def test_a_random_walk_is_forecast_by_its_last_value_and_a_season_is_not() -> None:
    random = np.random.default_rng(0)
    walks = [random.normal(size=300).cumsum() for _ in range(6)]
    waves = [np.sin(np.arange(300) * 2 * np.pi / 8 + place) for place in range(6)]
    found = {}
    for name, values in (("walk", walks), ("wave", waves)):
        config = ForecastingConfig.model_validate(
            {
                "task": "time-series-forecasting",
                "architecture": {
                    "hidden_size": 16,
                    "num_layers": 1,
                    "dropout": 0.0,
                    "distribution": "point",
                    "decoding": "segments",
                    "linear": True,
                },
                "training": {"max_epochs": 8, "batch_size": 16, "windows_per_epoch": 400},
                "data": {
                    "horizon": 8,
                    "context_length": 16,
                    "season_length": 1,
                    "scaling": "last",
                    "validation_windows": 4,
                    "test_windows": 4,
                },
            }
        )
        examples = SeriesExamples(list("abcdef"), values, [None] * 6, None)
        found[name] = finished(config, examples).metrics
    assert found["walk"]["shrinkage"] < 0.5
    assert found["walk"]["test_mase"] < 1.1 * found["walk"]["test_mase_seasonal_naive"]
    assert found["wave"]["shrinkage"] > 0.95
    assert found["wave"]["test_coverage_95"] > 0.8
