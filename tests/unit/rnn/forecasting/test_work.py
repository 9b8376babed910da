"""Forecasting as training work: every head learns, is tested and calibrated, can be seen into."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from rnn.config import ForecastingConfig
from rnn.data.examples import SeriesExamples
from rnn.determinism import Randomness
from rnn.errors import ConfigError
from rnn.events import Control, Finished, StepDone
from rnn.forecasting.coding import CodedWindows
from rnn.forecasting.decoding import Decoder, Forecast
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.sizes import forecasting_parameters
from rnn.forecasting.work import ForecastingWork
from rnn.probe import Probe
from rnn.train import parameter_count, train

CPU = torch.device("cpu")
HEADS = [
    (distribution, decoding)
    for distribution in ("quantile", "student_t", "negative_binomial", "point")
    for decoding in ("direct", "recursive", "segments")
]


class Unhurried(Control):
    def elapsed_seconds(self) -> float:
        return 0.0

    def should_checkpoint(self) -> bool:
        return False

    def should_stop(self) -> bool:
        return False


def configured(
    architecture: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    **data: Any,
) -> ForecastingConfig:
    return ForecastingConfig.model_validate(
        {
            "task": "time-series-forecasting",
            "architecture": {"hidden_size": 8, "dropout": 0.2, **(architecture or {})},
            "training": {
                "max_epochs": 2,
                "batch_size": 16,
                "learning_rate": 0.01,
                "windows_per_epoch": 96,
                **(training or {}),
            },
            "data": {"horizon": 4, "context_length": 16, "season_length": 8, **data},
        }
    )


@pytest.fixture
def counted(series: SeriesExamples) -> SeriesExamples:
    values = [np.round(5 * one) for one in series.values]
    return SeriesExamples(series.ids, values, series.starts, series.frequency)


def work(config: ForecastingConfig, examples: SeriesExamples) -> ForecastingWork:
    return ForecastingWork(config, examples, CPU, Randomness(0, CPU))


def finished(config: ForecastingConfig, examples: SeriesExamples) -> tuple[Finished, list[float]]:
    losses = []
    for event in train(config, examples, device="cpu", control=Unhurried(), resume=None):
        if isinstance(event, StepDone):
            losses.append(event.loss)
    assert isinstance(event, Finished)
    return event, losses


@pytest.mark.parametrize(("distribution", "decoding"), HEADS)
def test_every_head_learns_and_is_tested(
    distribution: str, decoding: str, counted: SeriesExamples
) -> None:
    config = configured(
        {"distribution": distribution, "decoding": decoding},
        {"max_epochs": 6},
        validation_windows=2,
        test_windows=2,
        window_step=3,
        conformal=True,
    )
    last, losses = finished(config, counted)
    assert np.mean(losses[-6:]) < np.mean(losses[:6])
    figures = {name.removeprefix("test_") for name in last.metrics if name.startswith("test_")}
    assert figures == {
        "loss",
        "mase",
        "mase_seasonal_naive",
        "smape",
        "owa",
        "msis",
        "weighted_quantile_loss",
        "mse_standardised",
        "mae_standardised",
        "coverage_80",
        "coverage_95",
    }
    assert all(np.isfinite(value) for value in last.metrics.values())


def test_calibration_repairs_the_intervals_of_a_network_that_has_not_learned() -> None:
    random = np.random.default_rng(0)
    values = [np.sin(np.arange(400) / 3) + 0.5 * random.normal(size=400) for _ in range(4)]
    examples = SeriesExamples(list("abcd"), values, [None] * 4, None)
    back_test = {"validation_windows": 30, "test_windows": 30, "window_step": 2}
    misses = {}
    for conformal in (False, True):
        config = configured({}, {"max_epochs": 1}, conformal=conformal, **back_test)
        metrics = finished(config, examples)[0].metrics
        misses[conformal] = [
            abs(metrics[f"test_coverage_{share}"] - share / 100) for share in (80, 95)
        ]
    assert min(misses[False]) > 0.2
    assert max(misses[True]) < 0.06


def test_points_get_their_intervals_from_held_out_windows(series: SeriesExamples) -> None:
    config = configured({"distribution": "point"}, test_windows=1, validation_windows=3)
    metrics = finished(config, series)[0].metrics
    assert "coverage_80" not in metrics
    assert metrics["test_coverage_95"] > 0.7


def test_values_that_are_no_counts_are_refused_by_name(series: SeriesExamples) -> None:
    with pytest.raises(ConfigError, match="series 's0' has the value"):
        work(configured({"distribution": "negative_binomial"}), series)


def test_figures_of_many_windows_do_not_depend_on_the_batches(
    series: SeriesExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = work(configured(validation_windows=5, window_step=2), series)
    whole = one.evaluate()
    monkeypatch.setattr("rnn.forecasting.work._EVALUATION_VALUES", 12)
    in_batches = one.evaluate()
    assert whole.keys() == in_batches.keys()
    for name, value in whole.items():
        assert in_batches[name] == pytest.approx(value, rel=1e-5), name


def test_the_seasonal_naive_figure_is_one_for_the_test_part_of_a_known_series() -> None:
    """Each season one larger than the last: the naive error is what it is scaled by."""
    values = np.resize([0.0, 5, 1, 7], 80) + np.arange(80) // 4
    examples = SeriesExamples(["a"], [values], [None], None)
    config = configured({}, season_length=4, test_windows=3, window_step=1)
    metrics = finished(config, examples)[0].metrics
    assert metrics["test_mase_seasonal_naive"] == pytest.approx(1)
    assert metrics["mase_seasonal_naive"] == pytest.approx(1)


@pytest.mark.parametrize(
    "architecture",
    [
        {},
        {"decoding": "recursive", "distribution": "student_t", "layer_norm": True},
        {"decoding": "segments", "distribution": "negative_binomial"},
        {"decoding": "segments", "segment_length": 5, "convolution": {"channels": 7}},
        {"decoding": "segments", "linear": True},
        {"decoding": "recursive", "convolution": {"channels": 7, "num_layers": 2}},
        {"distribution": "point", "convolution": {"channels": 7, "pooling": 2}},
    ],
)
def test_the_parameters_are_counted_exactly_and_grouped_once(architecture: dict[str, Any]) -> None:
    config = configured(architecture, past_covariates=["a"], future_covariates=["b", "c"], age=True)
    network = ForecastingNetwork(config, Randomness(0, CPU))
    assert forecasting_parameters(config) == parameter_count(network)
    grouped = [id(parameter) for group in network.layer_groups() for parameter in group]
    assert sorted(grouped) == sorted(id(parameter) for parameter in network.parameters())


@pytest.mark.parametrize("decoding", ["direct", "recursive", "segments"])
def test_a_look_into_training_draws_nothing_and_sees_the_gradient(
    decoding: str, series: SeriesExamples
) -> None:
    config = configured({"decoding": decoding, "segment_length": 2})
    randomness = Randomness(0, CPU)
    forecasting = ForecastingWork(config, series, CPU, randomness)
    torch.nn.init.normal_(
        forecasting.network.head.out.weight, generator=torch.Generator().manual_seed(0)
    )
    before = randomness.state_tensors()
    probe = Probe([1, 4])
    norms = probe.gradient_norms(forecasting.probe_loss(probe))
    assert [sorted(by_lag) for by_lag in norms.values()] == [[1, 4], [1, 4]]
    assert all(norm > 0 for by_lag in norms.values() for norm in by_lag.values())
    for name, state in randomness.state_tensors().items():
        assert torch.equal(state, before[name])
    again = forecasting.probe_loss(Probe([1]))
    assert again.item() == forecasting.probe_loss(Probe([1, 4])).item()


def test_a_recursive_forecaster_is_validated_on_some_windows_and_tested_on_all(
    series: SeriesExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnn.forecasting.work._RECURSIVE_WINDOWS", 2)
    windows = {"validation_windows": 2, "test_windows": 2, "window_step": 1}
    judged: list[int] = []
    forecast = Decoder.forecast

    def counted(decoder: Decoder, coded: CodedWindows, levels: Sequence[float]) -> Forecast:
        judged.append(len(coded.inputs_btd))
        return forecast(decoder, coded, levels)

    monkeypatch.setattr(Decoder, "forecast", counted)
    work = ForecastingWork(
        configured({"decoding": "recursive"}, **windows), series, CPU, Randomness(0, CPU)
    )
    assert np.isfinite(list(work.evaluate().values())).all()
    work.test()
    assert judged[0] == 2
    assert sum(judged[1:]) == 2 * len(series.values)
