"""Answers of predictors: limits, order, batches equal to each input alone."""

import numpy as np
import pytest
import torch

from rnn.classification.network import ClassificationNetwork
from rnn.classification.predictor import Classifier
from rnn.config import (
    ClassificationConfig,
    ForecastingConfig,
    ForecastingData,
)
from rnn.determinism import Randomness
from rnn.errors import InputMismatchError
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.predictor import Forecaster, interpolated
from rnn.tokenizers import WordTokenizer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    config = ForecastingConfig.model_validate(
        {
            "task": "time-series-forecasting",
            "architecture": {"hidden_size": 6},
            "data": ForecastingData(horizon=6, context_length=12, season_length=4),
        }
    )
    network = ForecastingNetwork(config, Randomness(0, CPU))
    torch.nn.init.normal_(network.head.out.weight, generator=torch.Generator().manual_seed(0))
    return Forecaster(config, network)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    config = ClassificationConfig.model_validate(
        {
            "task": "text-classification",
            "architecture": {"hidden_size": 6, "embedding_size": 5},
            "data": {"max_tokens": 12},
        }
    )
    tokenizer = WordTokenizer.learn(["a b c d e f"], vocabulary_size=50, min_frequency=1)
    network = ClassificationNetwork(config, tokenizer.vocabulary_size, 3, Randomness(0, CPU))
    return Classifier(config, network, tokenizer, ["x", "y", "z"])


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


def test_levels_between_trained_ones_are_interpolated() -> None:
    quantiles_bhq = np.array([[[0.0, 10.0, 30.0]]])
    found = interpolated(quantiles_bhq, [0.1, 0.5, 0.9], [0.1, 0.3, 0.5, 0.8, 0.9])
    np.testing.assert_allclose(found[0, :, 0], [0, 5, 10, 25, 30])


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


def test_texts_in_a_batch_equal_each_alone_in_their_order(classifier: Classifier) -> None:
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(list("abcdefg"), size=size)) for size in range(1, 90)]
    random.shuffle(texts)
    together = classifier.classify(texts)
    np.testing.assert_allclose(together.probabilities_bc.sum(axis=1), 1)
    for row in (0, 17, 88):
        alone = classifier.classify([texts[row]])
        np.testing.assert_allclose(
            together.probabilities_bc[row], alone.probabilities_bc[0], rtol=1e-5
        )


def test_cut_and_unknown_texts_are_flagged(classifier: Classifier) -> None:
    result = classifier.classify(["a b c", "a " * 13, "雪 雪", ""])
    assert result.truncated == [False, True, False, False]
    assert result.known_share == [1, 1, 0, 0]


def test_no_texts_give_no_answers(classifier: Classifier) -> None:
    assert classifier.classify([]).probabilities_bc.shape == (0, 3)
