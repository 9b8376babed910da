import math

import numpy as np
import pytest

from rnn.classification.metrics import classification_metrics
from rnn.forecasting.metrics import finite, mase, seasonal_error, smape, weighted_quantile_loss
from rnn.generation.metrics import text_metrics


def test_a_uniform_guess_over_bytes_is_eight_bits() -> None:
    metrics = text_metrics(math.log(256))
    assert metrics["bits_per_token"] == pytest.approx(8)
    assert metrics["perplexity"] == pytest.approx(256)


def test_classification_figures_by_hand() -> None:
    logits = np.log(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]]))
    metrics = classification_metrics(logits, np.array([0, 1, 1, 0]))
    assert metrics["accuracy"] == 0.75
    assert metrics["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert metrics["loss"] == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.7]).mean())


def test_macro_f1_leaves_out_labels_that_nobody_saw() -> None:
    logits = np.array([[5.0, 0, 0], [0, 5.0, 0]])
    assert classification_metrics(logits, np.array([0, 1]))["macro_f1"] == 1


def test_mase_is_one_for_the_error_of_the_season_before() -> None:
    values = np.array([1.0, 5, 2, 6, 3, 7])
    assert seasonal_error(values, 2) == 1
    truth_bh = np.array([[4.0, 8]])
    assert mase(np.array([[3.0, 7]]), truth_bh, np.array([1.0])) == 1
    assert mase(truth_bh, truth_bh, np.array([1.0])) == 0


def test_mase_leaves_out_series_without_a_scale_and_missing_truth() -> None:
    truth_bh = np.array([[1.0, np.nan], [1, 1], [np.nan, np.nan]])
    forecast_bh = np.array([[3.0, 9], [5, 5], [0, 0]])
    assert mase(forecast_bh, truth_bh, np.array([1.0, 0.0, 1.0])) == 2
    assert math.isnan(mase(forecast_bh, truth_bh, np.zeros(3)))


def test_seasonal_error_of_missing_and_short_series() -> None:
    assert seasonal_error(np.array([1.0, np.nan, 3.0, 5.0]), 1) == 2
    assert seasonal_error(np.array([1.0, 2.0]), 24) == 1
    assert math.isnan(seasonal_error(np.array([1.0]), 24))


def test_smape_by_hand_and_for_zeros() -> None:
    truth_bh = np.array([[100.0, 0, np.nan]])
    assert smape(np.array([[300.0, 0, 5]]), truth_bh) == pytest.approx(50)


def test_weighted_quantile_loss_of_the_median_is_the_relative_absolute_error() -> None:
    truth_bh = np.array([[10.0, np.nan], [30, 60]])
    quantiles_bhq = np.array([[[15.0], [0]], [[30], [45]]])
    assert weighted_quantile_loss(quantiles_bhq, truth_bh, [0.5]) == pytest.approx(20 / 100)


def test_undefined_metrics_are_absent() -> None:
    assert finite({"mase": math.nan, "smape": 3.0}) == {"smape": 3.0}
