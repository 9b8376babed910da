"""Calibrated intervals cover as often as they say, whatever the network says."""

import numpy as np
import pytest

from rnn.config import QUANTILE_LEVELS
from rnn.forecasting.conformal import Conformal


def test_intervals_of_a_wrong_forecast_cover_new_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    spread_h = np.array([1.0, 3.0, 9.0])

    def truth(rows: int) -> np.ndarray:
        return 2 + spread_h * random.standard_t(4, size=(rows, 3))

    claimed_q = np.array(QUANTILE_LEVELS) - 0.5  # far too narrow, and off by 2
    conformal = Conformal.fit(truth(2000)[:, :, None] - claimed_q)
    tested = truth(4000)
    quantiles_bhq = np.broadcast_to(claimed_q, (4000, 3, len(claimed_q)))
    moved_bhq = conformal.applied(quantiles_bhq, QUANTILE_LEVELS, np.ones(4000), None)
    share_hq = (tested[:, :, None] <= moved_bhq).mean(axis=0)
    np.testing.assert_allclose(share_hq, np.tile(QUANTILE_LEVELS, (3, 1)), atol=0.04)
    before_q = (tested[:, :, None] <= quantiles_bhq).mean(axis=(0, 1))
    assert before_q[-1] - before_q[0] < 0.2


def test_offsets_are_in_units_of_the_window() -> None:
    conformal = Conformal(np.tile(np.linspace(-1, 1, 13), (1, 1)))
    moved_bhq = conformal.applied(np.zeros((2, 1, 2)), [0.025, 0.975], np.array([1.0, 10.0]), None)
    assert moved_bhq[:, 0].tolist() == [[-1, 1], [-10, 10]]


def test_few_windows_share_the_errors_of_neighbouring_timesteps() -> None:
    random = np.random.default_rng(0)
    errors_nhq = np.repeat(random.normal(size=(3, 40, 1)), 13, axis=2)
    offsets_hq = Conformal.fit(errors_nhq).offsets_hq
    assert (offsets_hq[:, -1] > errors_nhq[:, :, 0].max(axis=0) - 1e-12).mean() > 0.9
    assert len(np.unique(offsets_hq[:, 6])) > 5


def test_missing_truth_says_nothing() -> None:
    errors_nhq = np.repeat(np.arange(80.0).reshape(80, 1, 1), 13, axis=2)
    gaps_nhq = np.concatenate([errors_nhq, np.full((50, 1, 13), np.nan)])
    assert np.array_equal(Conformal.fit(gaps_nhq).offsets_hq, Conformal.fit(errors_nhq).offsets_hq)


def test_calibrated_quantiles_rise_in_the_order_asked_for_and_respect_the_lowest_value() -> None:
    conformal = Conformal(np.tile(np.linspace(4, -4, 13), (2, 1)))  # would cross
    levels = [0.9, 0.025, 0.5]
    moved_bhq = conformal.applied(np.ones((1, 2, 3)), levels, np.ones(1), 0.0)
    assert (np.diff(moved_bhq[:, :, [1, 2, 0]], axis=2) >= 0).all()
    assert moved_bhq.min() == 0


def test_beyond_the_horizon_of_the_fit_the_last_offsets_hold() -> None:
    conformal = Conformal(np.array([[1.0] * 13, [5.0] * 13]))
    moved_bhq = conformal.applied(np.zeros((1, 4, 1)), [0.5], np.ones(1), None)
    assert moved_bhq[0, :, 0].tolist() == pytest.approx([1, 5, 5, 5])


def test_few_errors_never_narrow_what_they_cannot_tell() -> None:
    """Of six errors, all near 0, none is the 2.5 % one: a right interval stays as wide."""
    levels_q = np.array(QUANTILE_LEVELS)
    errors_nhq = np.linspace(-0.1, 0.1, 6)[:, None, None] - (levels_q - 0.5) * 8
    offsets_q = Conformal.fit(errors_nhq).offsets_hq[0]
    assert offsets_q[0] <= 0 <= offsets_q[-1]
    assert offsets_q[levels_q == 0.2][0] > 0  # that one they can tell


def test_a_point_stays_the_median_and_its_intervals_cover_errors_of_either_sign() -> None:
    random = np.random.default_rng(0)
    errors_nh = 0.3 + random.normal(size=(3000, 2)) * np.array([1.0, 4.0])
    conformal = Conformal.around_points(errors_nh)
    assert np.array_equal(conformal.offsets_hq[:, 6], [0, 0])
    assert np.array_equal(conformal.offsets_hq, -conformal.offsets_hq[:, ::-1])
    inside_nh = np.abs(errors_nh) <= conformal.offsets_hq[:, -1]
    np.testing.assert_allclose(inside_nh.mean(axis=0), 0.95, atol=0.005)
    assert (np.diff(conformal.offsets_hq, axis=1) > 0).all()
