import numpy as np
import pytest

from benchmarks.quality import figures

TRUTH_BH = np.array([[2.0, 4.0], [10.0, 10.0]])
FORECAST_BH = np.array([[3.0, 4.0], [10.0, 6.0]])


def test_squared_and_absolute_errors_are_means_over_all_values() -> None:
    assert figures.mse(FORECAST_BH, TRUTH_BH) == pytest.approx((1 + 0 + 0 + 16) / 4)
    assert figures.mae(FORECAST_BH, TRUTH_BH) == pytest.approx((1 + 0 + 0 + 4) / 4)


def test_scale_is_the_mean_absolute_seasonal_change_of_each_series() -> None:
    known = [np.array([1.0, 2, 2, 5]), np.array([0.0, 0, 4])]
    assert figures.seasonal_scale(known, 2) == pytest.approx([(1 + 3) / 2, 4])


def test_mase_scales_each_series_before_the_mean() -> None:
    scale_b = np.array([0.5, 4.0])
    assert figures.mase(FORECAST_BH, TRUTH_BH, scale_b) == pytest.approx((0.5 / 0.5 + 2 / 4) / 2)


def test_smape_is_of_the_sum_of_both_sizes() -> None:
    expected = 200 * (1 / 5 + 0 + 0 + 4 / 16) / 4
    assert figures.smape(FORECAST_BH, TRUTH_BH) == pytest.approx(expected)


def test_owa_is_the_mean_of_the_ratios_to_naive2() -> None:
    assert figures.owa(9.0, 1.0, naive_smape=18.0, naive_mase=2.0) == pytest.approx(0.5)
    assert figures.owa(9.0, 1.0, naive_smape=9.0, naive_mase=2.0) == pytest.approx(0.75)


def test_interval_score_adds_width_and_what_lies_outside() -> None:
    low_bh, high_bh = np.array([[1.0, 5.0]]), np.array([[3.0, 6.0]])
    truth_bh = np.array([[2.0, 4.0]])  # inside; one below
    expected = ((2 + 0) + (1 + 2 / 0.05 * 1)) / 2 / 10
    assert figures.msis(low_bh, high_bh, truth_bh, np.array([10.0]), 0.05) == pytest.approx(
        expected
    )
    above_bh = np.array([[2.0, 8.0]])
    expected = ((2 + 0) + (1 + 2 / 0.05 * 2)) / 2 / 10
    assert figures.msis(low_bh, high_bh, above_bh, np.array([10.0]), 0.05) == pytest.approx(
        expected
    )


def test_coverage_counts_the_bounds_as_inside() -> None:
    low_bh, high_bh = np.array([[1.0, 1.0, 1.0]]), np.array([[2.0, 2.0, 2.0]])
    truth_bh = np.array([[1.0, 2.0, 2.5]])
    assert figures.coverage(low_bh, high_bh, truth_bh) == pytest.approx(2 / 3)


def test_seasonal_naive_repeats_the_last_season_in_its_order() -> None:
    known = [np.array([9.0, 9, 1, 2, 3])]
    assert figures.seasonal_naive(known, 3, 5).tolist() == [[1, 2, 3, 1, 2]]
    assert figures.seasonal_naive(known, 1, 3).tolist() == [[3, 3, 3]]


def test_naive2_goes_on_with_a_season_that_is_multiplied() -> None:
    season = np.array([0.5, 1.5, 1.0, 1.0])
    values = 10 * np.tile(season, 6)[:-1]  # ends in the middle of a season
    found = figures.naive2([values], 4, 5)
    assert found[0] == pytest.approx(10 * np.array([1.0, 0.5, 1.5, 1.0, 1.0]))


def test_naive2_takes_the_last_value_where_there_is_no_season() -> None:
    values = np.array([1.0, 1, 2, 2, 3, 3, 2, 2, 1, 1, 2, 2, 3, 3, 2])
    assert figures.naive2([values], 5, 2).tolist() == [[2, 2]]
