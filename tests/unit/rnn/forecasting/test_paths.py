"""Sample paths: the answered quantiles at each timestep, and what timesteps have to do with each
other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnn.checkpoint import Content, load_model, read, write
from rnn.config import QUANTILE_LEVELS, ForecastingConfig
from rnn.data.examples import SeriesExamples
from rnn.determinism import Randomness
from rnn.errors import CheckpointError, InputMismatchError
from rnn.forecasting.conformal import Conformal
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.paths import Dependence, normal_scores
from rnn.forecasting.predictor import Forecaster
from rnn.forecasting.shrinkage import Shrinkage
from tests.unit.rnn.trainings import finished

HORIZON = 6
HEADS = [
    (distribution, decoding)
    for distribution in ("quantile", "student_t", "negative_binomial", "point")
    for decoding in ("direct", "recursive", "segments")
]


DEPENDENCE = Dependence(shared=0.2, autocorrelation=0.7)


def made(dependence: Dependence = DEPENDENCE, **architecture: Any) -> Forecaster:
    """A network that has left the base it starts at, drawn back and calibrated."""
    config = ForecastingConfig.model_validate(
        {
            "task": "time-series-forecasting",
            "architecture": {"hidden_size": 6, "cell": "gru", **architecture},
            "data": {"horizon": HORIZON, "context_length": 12, "season_length": 4},
        }
    )
    network = ForecastingNetwork(config, Randomness(0, torch.device("cpu")))
    torch.nn.init.normal_(network.head.out.weight, generator=torch.Generator().manual_seed(0))
    offsets_hq = np.tile(np.linspace(-1, 2, len(QUANTILE_LEVELS)), (HORIZON, 1))
    return Forecaster(config, network, Conformal(offsets_hq), Shrinkage(0.5), dependence=dependence)


@pytest.fixture(scope="module", params=HEADS, ids="-".join)
def forecaster(request: pytest.FixtureRequest) -> Forecaster:
    distribution, decoding = request.param
    return made(distribution=distribution, decoding=decoding)


def counts(rows: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.poisson(20, length) * 1.0 for length in random.integers(5, 60, rows)]


def paths(model: Forecaster, rows: int, num_samples: int, horizon: int = HORIZON) -> np.ndarray:
    """[rows, num_samples, horizon]; row `i` has the seed `i`."""
    result = model.forecast(
        counts(rows), horizon, [0.5], num_samples=num_samples, seeds=range(rows)
    )
    assert result.samples_bst is not None
    return result.samples_bst


def test_they_have_the_quantiles_that_are_answered(forecaster: Forecaster) -> None:
    """Of every head, after it was drawn back and calibrated; equal values are on both sides."""
    levels = [0.025, 0.1, 0.33, 0.5, 0.9]
    quantiles_bqt = forecaster.forecast(counts(3), HORIZON, levels).quantiles_bqt
    samples_bst = paths(forecaster, 3, 300)
    for place, level in enumerate(levels):
        quantile_b1t = quantiles_bqt[:, place : place + 1]
        small = 1e-9 * np.abs(quantile_b1t)
        assert ((samples_bst < quantile_b1t - small).mean(axis=1) <= level + 0.01).all()
        assert ((samples_bst <= quantile_b1t + small).mean(axis=1) >= level - 0.01).all()


def test_those_of_a_row_do_not_depend_on_the_others(forecaster: Forecaster) -> None:
    series = counts(70)  # more rows than one internal batch
    together = forecaster.forecast(series, HORIZON, [0.5], num_samples=2, seeds=range(70))
    assert together.samples_bst is not None
    for row in (0, 3, 69):
        alone = forecaster.forecast([series[row]], HORIZON, [0.5], num_samples=2, seeds=[row])
        assert alone.samples_bst is not None
        np.testing.assert_array_equal(together.samples_bst[row], alone.samples_bst[0])


def test_fewer_are_the_first_of_more_and_shorter_ones_their_beginning(
    forecaster: Forecaster,
) -> None:
    assert np.array_equal(paths(forecaster, 2, 3, horizon=2), paths(forecaster, 2, 120)[:, :3, :2])


def test_nothing_else_changes_with_them(forecaster: Forecaster) -> None:
    without = forecaster.forecast(counts(3), HORIZON, [0.1, 0.5])
    beside = forecaster.forecast(counts(3), HORIZON, [0.1, 0.5], num_samples=5, seeds=[1, 2, 3])
    assert without.samples_bst is None
    assert np.array_equal(without.mean_bt, beside.mean_bt)
    assert np.array_equal(without.quantiles_bqt, beside.quantiles_bqt)


def test_a_seed_draws_the_same_ones_and_another_seed_others(forecaster: Forecaster) -> None:
    series = [counts(1)[0]] * 3
    samples_bst = forecaster.forecast(
        series, HORIZON, [0.5], num_samples=4, seeds=[5, 6, 5]
    ).samples_bst
    assert samples_bst is not None
    assert np.array_equal(samples_bst[0], samples_bst[2])
    assert not np.array_equal(samples_bst[0], samples_bst[1])


def test_one_path_is_drawn_from_the_whole_distribution() -> None:
    """Quantiles in equal shares that began with the middle would always draw the median."""
    model = made(distribution="student_t")
    series = [counts(1)[0]] * 400
    result = model.forecast(series, HORIZON, [0.25], num_samples=1, seeds=range(400))
    assert result.samples_bst is not None
    below_t = (result.samples_bst[:, 0] < result.quantiles_bqt[:, 0]).mean(axis=0)
    np.testing.assert_allclose(below_t, 0.25, atol=0.07)


@pytest.mark.parametrize(
    ("shared", "autocorrelation"), [(0.0, 0.0), (0.0, -0.5), (0.0, 0.8), (0.4, 0.5), (1.0, 0.0)]
)
def test_timesteps_of_a_direct_head_are_correlated_as_the_model_says(
    shared: float, autocorrelation: float
) -> None:
    model = made(Dependence(shared, autocorrelation), distribution="student_t")
    rank_st = paths(model, 1, 1_000)[0].argsort(axis=0).argsort(axis=0)
    found = [np.corrcoef(rank_st[:, 1], rank_st[:, 1 + lag])[0, 1] for lag in (1, 2, 4)]
    expected = correlations(Dependence(shared, autocorrelation), [1, 2, 4])
    np.testing.assert_allclose(found, expected, atol=0.1)


def correlations(dependence: Dependence, lags: Sequence[int]) -> np.ndarray:
    kept = dependence.autocorrelation ** np.array(lags)
    return np.asarray(dependence.shared + (1 - dependence.shared) * kept)


def test_recursive_decoding_draws_how_timesteps_depend_on_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its own paths, of which the copula knows nothing."""
    drawn: list[np.ndarray] = []
    model = made(distribution="student_t", decoding="recursive")
    decoder_paths = model._decoder.paths

    def recorded(*arguments: Any) -> np.ndarray:
        drawn.append(decoder_paths(*arguments))
        return drawn[-1]

    monkeypatch.setattr(model._decoder, "paths", recorded)
    samples_bst = paths(model, 2, 150)
    raw_bst = np.concatenate(drawn, axis=2).transpose(0, 2, 1)
    assert raw_bst.shape == (2, 200, HORIZON)
    order_bst = raw_bst[:, :100].argsort(axis=1)
    assert (np.diff(np.take_along_axis(samples_bst[:, :100], order_bst, axis=1), axis=1) >= 0).all()
    assert not np.array_equal(raw_bst[:, :100], raw_bst[:, 100:])


def autoregression(correlation: float, windows: int = 400) -> np.ndarray:
    """[windows, 8] of variance 1."""
    noise = np.random.default_rng(0).normal(size=(8, windows))
    scores = noise.copy()
    for timestep in range(1, 8):
        scores[timestep] = correlation * scores[timestep - 1]
        scores[timestep] += np.sqrt(1 - correlation**2) * noise[timestep]
    return scores.T


def normal_quantiles() -> np.ndarray:
    levels = torch.tensor(QUANTILE_LEVELS, dtype=torch.float64)
    return np.asarray(torch.special.ndtri(levels).numpy())


@pytest.mark.parametrize(
    ("shared", "autocorrelation"), [(0.0, -0.4), (0.0, 0.0), (0.0, 0.9), (0.3, 0.6), (0.8, 0.0)]
)
def test_the_dependence_is_that_of_held_out_windows(shared: float, autocorrelation: float) -> None:
    common = np.random.default_rng(2).normal(size=(400, 1))
    truth_nh = np.sqrt(shared) * common + np.sqrt(1 - shared) * autoregression(autocorrelation)
    errors_nhq = truth_nh[:, :, None] - normal_quantiles()
    expected = correlations(Dependence(shared, autocorrelation), range(1, 8))
    for gaps in (0.0, 0.3):
        errors_nhq[np.random.default_rng(1).random((400, 8)) < gaps] = np.nan
        found = correlations(Dependence.fit(normal_scores(errors_nhq)), range(1, 8))
        np.testing.assert_allclose(found, expected, atol=0.08)


def test_the_sum_of_a_path_spreads_as_that_of_the_truth() -> None:
    """An autoregression alone forgets a level that was missed: 80 % intervals of sums covered
    63 %."""
    common = np.random.default_rng(2).normal(size=(400, 1))
    truth_nh = np.sqrt(0.3) * common + np.sqrt(0.7) * autoregression(0.7)
    dependence = Dependence.fit(normal_scores(truth_nh[:, :, None] - normal_quantiles()))
    scores_hp = dependence.scores(np.random.default_rng(3).normal(size=(1, 9, 4_000)))[0]
    assert scores_hp.sum(axis=0).std() == pytest.approx(truth_nh.sum(axis=1).std(), rel=0.1)


def test_a_window_that_keeps_to_one_side_of_the_truth_says_that_timesteps_depend() -> None:
    errors_nhq = (2 + 0.1 * autoregression(0.0)[:1])[:, :, None] - normal_quantiles()
    assert correlations(Dependence.fit(normal_scores(errors_nhq)), [1, 7]).min() > 0.9


def test_counts_that_equal_their_quantiles_do_not_look_dependent() -> None:
    """The lowest level of several equal quantiles is far below the median."""
    truth_nh = np.random.default_rng(0).poisson(0.7, size=(400, 8))
    quantiles_q = np.quantile(truth_nh, QUANTILE_LEVELS, method="inverted_cdf")
    errors_nhq = truth_nh[:, :, None] - quantiles_q
    assert np.abs(correlations(Dependence.fit(normal_scores(errors_nhq)), [1, 2])).max() < 0.1


@pytest.mark.parametrize("shape", [(3, 1), (0, 4)])
def test_a_single_timestep_depends_on_nothing(shape: tuple[int, int]) -> None:
    assert Dependence.fit(np.ones(shape)) == Dependence(0.0, 0.0)


def test_forecasts_that_were_all_right_say_nothing_of_it() -> None:
    exact_nh = normal_scores(np.zeros((3, 4, len(QUANTILE_LEVELS))))
    assert Dependence.fit(exact_nh) == Dependence(0.0, 0.0)


@pytest.mark.parametrize(
    ("distribution", "decoding"),
    [
        ("quantile", "direct"),
        ("point", "segments"),
        ("point", "recursive"),
        ("quantile", "recursive"),
    ],
)
def test_a_training_measures_the_dependence_where_decoding_does_not_draw_it(
    distribution: str, decoding: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    found = {}
    for name in ("noise", "walk"):
        values = [random.normal(size=120) for _ in range(12)]
        values = [each.cumsum() if name == "walk" else each for each in values]
        config = ForecastingConfig.model_validate(
            {
                "task": "time-series-forecasting",
                "architecture": {
                    "hidden_size": 8,
                    "distribution": distribution,
                    "decoding": decoding,
                },
                "training": {"max_epochs": 2, "batch_size": 16, "windows_per_epoch": 96},
                "data": {
                    "horizon": 8,
                    "context_length": 16,
                    "season_length": 8,
                    "scaling": "last" if name == "walk" else "mean",
                    "validation_windows": 5,
                },
            }
        )
        examples = SeriesExamples(list("abcdefghijkl"), values, [None] * 12, None)
        finished(config, examples).save(tmp_path / name)
        found[name] = Dependence.from_values(read(tmp_path / name, "model").values)
    if (distribution, decoding) == ("quantile", "recursive"):
        assert found == {"noise": None, "walk": None}
    else:
        assert found["noise"] is not None
        assert found["walk"] is not None
        assert np.abs(correlations(found["noise"], [1, 2, 3])).max() < 0.3
        assert correlations(found["walk"], [1, 2, 3]).min() > 0.4


def test_a_model_stores_it_and_one_without_it_says_that_it_has_no_paths(tmp_path: Path) -> None:
    """Versions from before sample paths; recursive decoding needs it not."""
    for decoding in ("direct", "recursive"):
        config = made(decoding=decoding).config
        network = ForecastingNetwork(config, Randomness(0, torch.device("cpu")))
        for name, values in (("without", {}), ("with", DEPENDENCE.to_values())):
            folder = tmp_path / decoding / name
            write(folder, Content("model", config, values, network.state_dict()))
            model = load_model(folder)
            assert isinstance(model, Forecaster)
            if (decoding, name) == ("direct", "without"):
                with pytest.raises(InputMismatchError, match="train it again") as refused:
                    paths(model, 1, 1)
                assert refused.value.location == ("num_samples",)
            else:
                assert paths(model, 1, 1).shape == (1, 1, HORIZON)


@pytest.mark.parametrize(
    "stored",
    [
        None,
        0.5,
        {"shared": 0.5},
        {"shared": 1.5, "autocorrelation": 0.5},
        {"shared": 0.5, "autocorrelation": -1.0},
        {"shared": 0.5, "autocorrelation": float("nan")},
        {"shared": "half", "autocorrelation": 0.5},
    ],
    ids=str,
)
def test_a_stored_dependence_that_is_none_is_refused(stored: object) -> None:
    assert Dependence.from_values(DEPENDENCE.to_values()) == DEPENDENCE
    with pytest.raises(CheckpointError, match="dependence"):
        Dependence.from_values({"dependence": stored})
