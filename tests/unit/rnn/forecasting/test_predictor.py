"""Answers of forecasters: limits, order, batches equal to each series alone, for every head."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnn.checkpoint import Content, load_model, write
from rnn.config import ForecastingConfig
from rnn.determinism import Randomness
from rnn.errors import CheckpointError, InputMismatchError
from rnn.forecasting.conformal import Conformal
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.predictor import Forecaster

CPU = torch.device("cpu")
HEADS = [
    (distribution, decoding)
    for distribution in ("quantile", "student_t", "negative_binomial", "point")
    for decoding in ("direct", "recursive", "segments")
]


def configured(**architecture: Any) -> ForecastingConfig:
    return ForecastingConfig.model_validate(
        {
            "task": "time-series-forecasting",
            "architecture": {"hidden_size": 6, **architecture},
            "data": {"horizon": 6, "context_length": 12, "season_length": 4},
        }
    )


def untrained(config: ForecastingConfig) -> ForecastingNetwork:
    """A network that has left the base it starts at."""
    network = ForecastingNetwork(config, Randomness(0, CPU))
    torch.nn.init.normal_(network.head.out.weight, generator=torch.Generator().manual_seed(0))
    return network


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    config = configured()
    return Forecaster(config, untrained(config))


@pytest.fixture(scope="module", params=HEADS, ids="-".join)
def any_forecaster(request: pytest.FixtureRequest) -> Forecaster:
    distribution, decoding = request.param
    config = configured(distribution=distribution, decoding=decoding, cell="gru")
    return Forecaster(config, untrained(config))


def counts(rows: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 60, rows)
    return [random.poisson(10.0 ** random.integers(0, 4), length) * 1.0 for length in lengths]


def test_every_head_forecasts_in_a_batch_what_it_does_alone(any_forecaster: Forecaster) -> None:
    series = counts(70)  # more rows than one internal batch
    together = any_forecaster.forecast(series, 6, [0.1, 0.5])
    assert np.isfinite(together.mean_bt).all()
    for row in (0, 3, 69):
        alone = any_forecaster.forecast([series[row]], 6, [0.1, 0.5])
        np.testing.assert_array_equal(together.mean_bt[row], alone.mean_bt[0])
        np.testing.assert_array_equal(together.quantiles_bqt[row], alone.quantiles_bqt[0])


def test_every_head_begins_a_longer_horizon_with_the_shorter_one(
    any_forecaster: Forecaster,
) -> None:
    series = counts(3)
    short, long = (any_forecaster.forecast(series, horizon, [0.2]) for horizon in (2, 6))
    assert np.array_equal(short.mean_bt, long.mean_bt[:, :2])
    assert np.array_equal(short.quantiles_bqt, long.quantiles_bqt[:, :, :2])


def test_quantiles_of_every_head_rise_with_their_level(any_forecaster: Forecaster) -> None:
    levels = [0.9, 0.025, 0.33, 0.5, 0.975]
    quantiles_bqt = any_forecaster.forecast(counts(4), 6, levels).quantiles_bqt
    assert (np.diff(quantiles_bqt[:, np.argsort(levels)], axis=1) >= 0).all()


def test_recursive_decoding_goes_on_beyond_the_trained_horizon() -> None:
    config = configured(decoding="recursive")
    model = Forecaster(config, untrained(config))
    series = [np.sin(np.arange(30.0))]
    long, trained = (model.forecast(series, horizon, [0.5]) for horizon in (20, 6))
    assert long.mean_bt.shape == (1, 20)
    assert np.array_equal(long.mean_bt[:, :6], trained.mean_bt)
    with pytest.raises(InputMismatchError, match=r"horizon 61 .* 60"):
        model.forecast(series, 61, [0.5])


def test_a_distribution_knows_levels_that_quantiles_do_not() -> None:
    config = configured(distribution="student_t")
    result = Forecaster(config, untrained(config)).forecast([np.arange(9.0)], 6, [0.005, 0.995])
    assert (result.quantiles_bqt[:, 0] < result.quantiles_bqt[:, 1]).all()


def test_counts_stay_counts() -> None:
    config = configured(distribution="negative_binomial")
    quantiles_bqt = (
        Forecaster(config, untrained(config)).forecast(counts(9), 6, [0.025, 0.5]).quantiles_bqt
    )
    assert (quantiles_bqt >= 0).all()
    assert np.array_equal(quantiles_bqt, np.round(quantiles_bqt))


def test_a_stored_calibration_moves_the_quantiles_by_window_units(tmp_path: Path) -> None:
    config = configured(distribution="point")
    network = untrained(config)
    offsets_hq = np.tile(np.linspace(-6, 6, 13), (6, 1))
    values = Conformal(offsets_hq).to_values()
    write(tmp_path / "model", Content("model", config, values, network.state_dict()))
    model = load_model(tmp_path / "model")
    assert isinstance(model, Forecaster)
    series = [np.array([0.0, 2.0] * 10)]  # of mean absolute deviation 1
    result = model.forecast(series, 6, [0.5, 0.025, 0.9])
    for place, offset in enumerate((0, -6, 4)):
        np.testing.assert_allclose(
            result.quantiles_bqt[:, place], result.mean_bt + offset, rtol=1e-5
        )


def test_a_stored_shrinkage_draws_what_is_served_to_the_naive_forecast(tmp_path: Path) -> None:
    config = configured(distribution="point")
    network = untrained(config)
    series = [np.sin(np.arange(30.0)) + np.arange(30) / 9]
    found = {}
    for share in (1.0, 0.5, 0.0):
        content = Content("model", config, {"shrinkage": share}, network.state_dict())
        write(tmp_path / str(share), content)
        model = load_model(tmp_path / str(share))
        assert isinstance(model, Forecaster)
        found[share] = model.forecast(series, 6, [0.5])
    assert np.abs(found[1.0].mean_bt - found[0.0].mean_bt).max() > 0.01
    season = config.data.season_length
    assert season is not None
    assert np.array_equal(found[0.0].mean_bt[0], np.resize(series[0][-season:], 6))
    for name in ("mean_bt", "quantiles_bqt"):
        whole, half, none = (getattr(found[share], name) for share in (1.0, 0.5, 0.0))
        np.testing.assert_allclose(half, (whole + none) / 2)


def test_a_calibration_that_is_no_table_of_the_levels_is_refused(tmp_path: Path) -> None:
    config = configured()
    weights = untrained(config).state_dict()
    write(tmp_path / "model", Content("model", config, {"conformal": [[1.0]]}, weights))
    with pytest.raises(CheckpointError, match="conformal"):
        load_model(tmp_path / "model")


def test_forecasts_in_a_batch_equal_each_series_alone(forecaster: Forecaster) -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 60, 70)  # more rows than one internal batch
    series = [random.normal(size=length) * 10.0 ** random.integers(-3, 6) for length in lengths]
    series[3][-1] = series[5][0] = 7
    together = forecaster.forecast(series, 6, [0.1, 0.5])
    for row in (0, 3, 5, 64, 69):
        alone = forecaster.forecast([series[row]], 6, [0.1, 0.5])
        np.testing.assert_allclose(together.mean_bt[row], alone.mean_bt[0], rtol=1e-4)
        np.testing.assert_allclose(together.quantiles_bqt[row], alone.quantiles_bqt[0], rtol=1e-4)


def test_a_shorter_horizon_is_the_beginning_of_the_longer_one(forecaster: Forecaster) -> None:
    series = [np.sin(np.arange(30.0))]
    short, long = (forecaster.forecast(series, horizon, [0.5]) for horizon in (2, 6))
    assert short.mean_bt.shape == (1, 2)
    assert np.array_equal(short.mean_bt, long.mean_bt[:, :2])


def test_quantiles_rise_with_their_level_in_the_order_asked_for(forecaster: Forecaster) -> None:
    series = [np.random.default_rng(1).normal(size=40) for _ in range(5)]
    levels = [0.9, 0.025, 0.33, 0.5, 0.975]
    result = forecaster.forecast(series, 6, levels)
    assert result.quantiles_bqt.shape == (5, 5, 6)
    ordered = result.quantiles_bqt[:, np.argsort(levels)]
    assert (np.diff(ordered, axis=1) >= 0).all()


@pytest.mark.parametrize(
    ("horizon", "levels", "message"),
    [
        (7, [0.5], "horizon 7 .* 6"),
        (0, [0.5], "horizon 0"),
        (6, [0.01], "quantile 0.01 .* 0.025 and 0.975"),
        (6, [0.5, 0.99], "quantile 0.99"),
    ],
)
def test_what_was_not_trained_is_refused(
    forecaster: Forecaster, horizon: int, levels: list[float], message: str
) -> None:
    with pytest.raises(InputMismatchError, match=message):
        forecaster.forecast([np.arange(9.0)], horizon, levels)


@pytest.mark.parametrize("values", [[], [np.nan, np.nan]])
def test_a_series_without_a_value_is_named(forecaster: Forecaster, values: list[float]) -> None:
    with pytest.raises(InputMismatchError, match="series 1 has no observed value"):
        forecaster.forecast([np.arange(5.0), np.array(values, dtype=np.float64)], 2, [0.5])


def test_missing_values_anywhere_still_give_a_forecast(forecaster: Forecaster) -> None:
    series = [np.arange(40.0) for _ in range(4)]
    series[0][10:12] = np.nan
    series[1][-5:] = np.nan
    series[2][2:] = np.nan
    series[3][:39] = np.nan
    result = forecaster.forecast(series, 6, [0.5])
    assert np.isfinite(result.mean_bt).all()


def test_large_levels_keep_their_small_changes(forecaster: Forecaster) -> None:
    small = np.sin(np.arange(40.0))
    low = forecaster.forecast([small], 6, [])
    high = forecaster.forecast([small + 1e9], 6, [])
    assert np.abs(high.mean_bt - 1e9).max() < 20 * np.abs(low.mean_bt).max() + 20
    assert len(np.unique(high.mean_bt)) == 6


def test_no_series_give_no_forecasts(forecaster: Forecaster) -> None:
    result = forecaster.forecast([], 6, [0.5])
    assert result.mean_bt.shape == (0, 6)
    assert result.quantiles_bqt.shape == (0, 1, 6)
