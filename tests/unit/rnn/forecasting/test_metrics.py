"""Figures of forecasts by hand, and that batches of windows add up to all of them."""

import math

import numpy as np
import pytest

from rnn.forecasting.metrics import (
    Tally,
    coverage,
    finite,
    mase,
    mean_absolute_error,
    mean_squared_error,
    msis,
    seasonal_error,
    smape,
    weighted_quantile_loss,
)


def test_mase_is_one_for_the_error_of_the_season_before() -> None:
    values = np.array([1.0, 5, 2, 6, 3, 7])
    assert seasonal_error(values, 2) == 1
    truth_bh = np.array([[4.0, 8]])
    assert mase(np.array([[3.0, 7]]), truth_bh, np.array([1.0])).mean == 1
    assert mase(truth_bh, truth_bh, np.array([1.0])).mean == 0


def test_mase_leaves_out_series_without_a_scale_and_missing_truth() -> None:
    truth_bh = np.array([[1.0, np.nan], [1, 1], [np.nan, np.nan]])
    forecast_bh = np.array([[3.0, 9], [5, 5], [0, 0]])
    assert mase(forecast_bh, truth_bh, np.array([1.0, 0.0, 1.0])).mean == 2
    assert math.isnan(mase(forecast_bh, truth_bh, np.zeros(3)).mean)


def test_seasonal_error_of_missing_and_short_series() -> None:
    assert seasonal_error(np.array([1.0, np.nan, 3.0, 5.0]), 1) == 2
    assert seasonal_error(np.array([1.0, 2.0]), 24) == 1
    assert math.isnan(seasonal_error(np.array([1.0]), 24))


def test_smape_by_hand_and_for_zeros() -> None:
    truth_bh = np.array([[100.0, 0, np.nan]])
    assert smape(np.array([[300.0, 0, 5]]), truth_bh).mean == pytest.approx(50)


def test_weighted_quantile_loss_of_the_median_is_the_relative_absolute_error() -> None:
    truth_bh = np.array([[10.0, np.nan], [30, 60]])
    quantiles_bhq = np.array([[[15.0], [0]], [[30], [45]]])
    assert weighted_quantile_loss(quantiles_bhq, truth_bh, [0.5]).mean == pytest.approx(20 / 100)


def test_undefined_metrics_are_absent() -> None:
    assert finite({"mase": math.nan, "smape": 3.0}) == {"smape": 3.0}


def test_interval_score_is_the_width_and_forty_times_what_was_missed() -> None:
    truth_bh = np.array([[5.0, 12.0, np.nan]])
    lower_bh, upper_bh = np.array([[4.0, 8, 0]]), np.array([[6.0, 11, 0]])
    score = msis(lower_bh, upper_bh, truth_bh, np.array([2.0]), covers=0.95)
    assert score.mean == pytest.approx(((2 + 3 + 40 * 1) / 2) / 2)


def test_coverage_counts_observed_truth_between_the_bounds() -> None:
    truth_bh = np.array([[1.0, 2, np.nan], [3, 4, 5]])
    covered = coverage(np.full((2, 3), 2.0), np.full((2, 3), 4.0), truth_bh)
    assert covered == Tally(3, 5)


def test_standardised_errors_by_hand() -> None:
    truth_bh = np.array([[1.0, np.nan], [10.0, 30.0], [1.0, 2.0]])
    forecast_bh = np.array([[3.0, 0.0], [20.0, 20.0], [9.0, 9.0]])
    deviation_b = np.array([1.0, 10.0, 0.0])
    assert mean_squared_error(forecast_bh, truth_bh, deviation_b) == Tally(4 + 1 + 1, 3)
    assert mean_absolute_error(forecast_bh, truth_bh, deviation_b) == Tally(2 + 1 + 1, 3)


def test_batches_add_up_to_all_windows() -> None:
    random = np.random.default_rng(0)
    truth_bh, forecast_bh = random.normal(size=(2, 9, 4)) + 5
    truth_bh[random.random((9, 4)) < 0.2] = np.nan
    scale_b = random.random(9) + 0.5
    whole = mase(forecast_bh, truth_bh, scale_b)
    parts = Tally()
    for rows in (slice(0, 2), slice(2, 9)):
        parts += mase(forecast_bh[rows], truth_bh[rows], scale_b[rows])
    assert parts.mean == pytest.approx(whole.mean)
