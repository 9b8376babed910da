"""However a series is cut into steps, its forecast is that of the whole."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn.config import ForecastingConfig
from rnn.determinism import Randomness
from rnn.errors import InputMismatchError, LiveStateError
from rnn.forecasting import live
from rnn.forecasting.coding import code_windows
from rnn.forecasting.covariates import SeriesCovariates, join_covariates
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.predictor import Forecaster
from rnn.forecasting.scale import RunningDeviation, deviation_so_far
from rnn.forecasting.windows import SeriesWindows

NETWORK = "n" * 64
LEVELS = (0.1, 0.5, 0.9)
ALL_DATA: dict[str, Any] = {
    "past_covariates": ["wind", "rain"],
    "future_covariates": ["holiday"],
    "static_covariates": ["kind", "size"],
    "static_columns": [
        {"column": "kind", "words": ["new", "old"]},
        {"column": "size", "location": 3.0, "scale": 2.0},
    ],
    "frequency": "1mo",
    "calendar": True,
    "age": True,
    "lags": [2, 9],
    "scaling": "last",
}


def make(decoding: str = "direct", **data: Any) -> Forecaster:
    config = ForecastingConfig.model_validate(
        {
            "task": "time-series-forecasting",
            "architecture": {"num_layers": 1, "hidden_size": 6, "decoding": decoding},
            "data": {"horizon": 5, "context_length": 10, "season_length": 4, **data},
        }
    )
    network = ForecastingNetwork(config, Randomness(0, torch.device("cpu")))
    return Forecaster(config, network)


MODELS = {
    "plain": make(),
    "robust": make(scaling="robust", age=True),
    "all": make(**ALL_DATA),
    "recursive": make("recursive", scaling="last"),
    "segments": make("segments", **ALL_DATA),
}
STATIC: dict[str, float | str | None] = {"kind": "old", "size": 7.0}
START = datetime(2023, 1, 31, tzinfo=UTC)  # months keep the day as far as they have it

value = st.one_of(
    st.floats(-1e6, 1e6), st.just(float("nan")), st.sampled_from([0.0, 5.0, 1e12, 1e12 + 1])
)


def begin(model: Forecaster) -> live.LiveSeries:
    if model.config.data.static_covariates:
        return live.begin(model, STATIC, START)
    return live.begin(model, {}, None)


def beside(model: Forecaster, length: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Covariates of so many timesteps."""
    time, data = np.arange(length, dtype=np.float64), model.config.data
    past = {name: np.sin(time * (i + 1)) for i, name in enumerate(data.past_covariates)}
    return past, dict.fromkeys(data.future_covariates, (time % 3 == 0) * 1.0)


def part(columns: dict[str, Any], begin: int, end: int) -> dict[str, Any]:
    return {name: values[begin:end] for name, values in columns.items()}


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(value, min_size=1, max_size=90),
    cuts=st.lists(st.integers(0, 90), max_size=6),
    horizon=st.integers(1, 5),
)
def test_a_series_in_pieces_is_forecast_as_the_whole(
    name: str, values: list[float], cuts: list[int], horizon: int
) -> None:
    """To the last bit: what is computed is the same."""
    model, series = MODELS[name], np.array(values)
    past, future = beside(model, len(values) + horizon)
    ends = sorted({min(cut, len(values)) for cut in cuts} | {len(values)})
    so_far, at = begin(model), 0
    ahead_hf = np.empty((0, 0))
    for end in ends:
        so_far, ahead_hf = live.extend(
            model,
            so_far,
            series[at:end],
            part(past, at, end),
            part(future, at, end + horizon),
            horizon=horizon,
        )
        so_far = live.from_bytes(model, live.to_bytes(so_far, NETWORK), NETWORK)
        at = end
    if np.isnan(series).all():
        with pytest.raises(InputMismatchError, match="no observed value"):
            live.forecast(model, so_far, ahead_hf, horizon, LEVELS)
        return
    static, start = (STATIC, START) if so_far.start else ({}, None)
    known = SeriesCovariates(part(past, 0, len(values)), future, static, start)
    expected = model.forecast([series], horizon, LEVELS, [known])
    found = live.forecast(model, so_far, ahead_hf, horizon, LEVELS)
    np.testing.assert_array_equal(found.mean_bt, expected.mean_bt)
    np.testing.assert_array_equal(found.quantiles_bqt, expected.quantiles_bqt)


@pytest.mark.parametrize("name", MODELS)
def test_its_hidden_state_is_that_of_one_pass(name: str) -> None:
    """Over the window that its forecast reads; before the first value it is zero."""
    model, length = MODELS[name], 37
    series = np.sin(np.arange(length)) + np.arange(length) / 9
    past, future = beside(model, length)
    so_far = begin(model)
    assert not live.hidden(model, so_far).hidden_lbh.any()
    for at in range(length):
        so_far, _ = live.extend(
            model,
            so_far,
            series[at : at + 1],
            part(past, at, at + 1),
            part(future, at, at + 1),
            horizon=0,
        )
    found = live.hidden(model, so_far).hidden_lbh
    static, start = (STATIC, START) if so_far.start else ({}, None)
    ahead = {name: np.append(known, [np.nan] * 5) for name, known in future.items()}
    known = SeriesCovariates(past, ahead, static, start)
    examples = join_covariates([series], [known], model.config.data)
    shape = model.shape(5)
    coded = code_windows(SeriesWindows(examples, shape).ends(), shape)
    network = model._decoder._network
    with torch.inference_mode():
        _, expected = network.stack(network.stack_reads(torch.from_numpy(coded.inputs_btd)))
    assert found.abs().max() > 0.01
    torch.testing.assert_close(found, expected.hidden_lbh, rtol=1e-4, atol=1e-5)


def test_a_forecast_of_nothing_new_needs_no_past_covariates() -> None:
    model, series = MODELS["all"], np.arange(20.0)
    past, future = beside(model, 23)
    so_far, _ = live.extend(
        model, begin(model), series, part(past, 0, 20), part(future, 0, 20), horizon=0
    )
    so_far, ahead_hf = live.extend(model, so_far, np.empty(0), {}, part(future, 20, 23), horizon=3)
    known = SeriesCovariates(part(past, 0, 20), future, STATIC, START)
    expected = model.forecast([series], 3, LEVELS, [known])
    found = live.forecast(model, so_far, ahead_hf, 3, LEVELS)
    np.testing.assert_array_equal(found.mean_bt, expected.mean_bt)


def test_recursive_decoding_goes_beyond_the_trained_horizon() -> None:
    model, series = MODELS["recursive"], np.sin(np.arange(40.0))
    so_far, ahead_hf = live.extend(model, begin(model), series, {}, {}, horizon=20)
    expected = model.forecast([series], 20, LEVELS)
    found = live.forecast(model, so_far, ahead_hf, 20, LEVELS)
    np.testing.assert_array_equal(found.mean_bt, expected.mean_bt)


@given(
    st.lists(st.lists(st.one_of(value, st.floats(-1e300, 1e300)), max_size=9), max_size=9),
)
def test_the_running_deviation_is_that_of_the_whole_to_the_last_bit(
    pieces: list[list[float]],
) -> None:
    sums = RunningDeviation()
    for piece in pieces:
        sums = sums.extended(np.array(piece, dtype=np.float64))
    whole = np.array([number for piece in pieces for number in piece], dtype=np.float64)
    np.testing.assert_array_equal(sums.deviation, deviation_so_far(whole)[-1])


def test_a_state_has_one_size() -> None:
    model = MODELS["plain"]
    long, _ = live.extend(model, begin(model), np.arange(100.0), {}, {}, horizon=0)
    longer, _ = live.extend(model, long, np.arange(100_000.0), {}, {}, horizon=0)
    assert longer.count == 100_100
    sizes = [len(live.to_bytes(series, NETWORK)) for series in (long, longer)]
    assert sizes[1] - sizes[0] < 16


def test_covariates_that_do_not_fit_are_named() -> None:
    model = MODELS["all"]
    two = np.zeros(2)
    past, future = {"wind": two, "rain": two}, {"holiday": two}
    so_far = begin(model)
    for wrong, place in (
        (({"wind": two}, future), ("past_covariates", "rain")),
        ((past | {"sun": two}, future), ("past_covariates", "sun")),
        ((past | {"rain": np.zeros(3)}, future), ("past_covariates", "rain")),
        ((past, {"holiday": np.zeros(3)}), ("future_covariates", "holiday")),
    ):
        with pytest.raises(InputMismatchError) as caught:
            live.extend(model, so_far, two, *wrong, horizon=0)
        assert caught.value.location == place
    with pytest.raises(InputMismatchError, match="start"):
        live.begin(model, STATIC, None)
    with pytest.raises(InputMismatchError, match="'size'"):
        live.begin(model, {"kind": "new"}, START)


def test_what_was_not_trained_is_refused() -> None:
    model = MODELS["plain"]
    so_far, ahead_hf = live.extend(model, begin(model), np.ones(3), {}, {}, horizon=6)
    with pytest.raises(InputMismatchError, match="horizon 6"):
        live.forecast(model, so_far, ahead_hf, 6, LEVELS)
    with pytest.raises(InputMismatchError, match="quantile"):
        live.forecast(model, so_far, ahead_hf, 5, (0.001,))


def test_the_state_of_a_forecaster_that_reads_otherwise_is_refused() -> None:
    """One digest stands for one network: this is a defect or a forgery, and no crash."""
    state = live.to_bytes(begin(MODELS["plain"]), NETWORK)
    with pytest.raises(LiveStateError):
        live.from_bytes(MODELS["all"], state, NETWORK)
