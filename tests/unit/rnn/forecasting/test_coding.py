"""Each feature that the network reads, against numbers made by hand."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from rnn.config.forecasting import StaticColumn
from rnn.data.examples import SeriesExamples
from rnn.forecasting.coding import CodedWindows, code_windows
from rnn.forecasting.windows import SeriesWindows, WindowShape

PLAIN = WindowShape(context_length=4, horizon=2, season_length=2)
# The last four have the mean 6 and the mean absolute deviation 2.
VALUES = np.array([1.0, 2.0, 3.0, 4.0, 4.0, 8.0, 4.0, 8.0])
NAN = np.nan


def coded(shape: WindowShape, values: np.ndarray = VALUES, **known: Any) -> CodedWindows:
    examples = SeriesExamples(["s"], [values], [datetime(2024, 1, 1, tzinfo=UTC)], None, **known)
    windows = SeriesWindows(examples, shape).at(np.array([0]), np.array([8]))
    found = code_windows(windows, shape)
    assert found.inputs_btd.shape == (1, shape.context_length, shape.input_features)
    assert found.future_bhd.shape == (1, shape.horizon, shape.future_features)
    assert found.inputs_btd.dtype == found.future_bhd.dtype == np.float32
    return found


def test_without_any_choice() -> None:
    found = coded(PLAIN)
    inputs_td = found.inputs_btd[0]
    assert inputs_td[:, 0].tolist() == [-1, 1, -1, 1]  # the values
    assert inputs_td[:, 2].tolist() == [-1.5, -1, -1, 1]  # a season before: 3, 4, 4, 8
    assert inputs_td[:, [1, 3]].all()
    np.testing.assert_allclose(inputs_td[:, 4], 2 / 8)
    np.testing.assert_allclose(inputs_td[:, 5], np.log10(2) / 10)
    assert inputs_td.shape[1] == 6
    # Of the last season, then of the season before; then whether they were observed.
    assert found.future_bhd[0].tolist() == [[-1, -1, 1, 1], [1, 1, 1, 1]]
    assert found.base_bh.tolist() == found.seasonal_naive_bh.tolist() == [[4, 8]]


def test_chosen_lags_take_the_place_of_the_season() -> None:
    found = coded(replace(PLAIN, lags=(1, 3)))
    inputs_td = found.inputs_btd[0]
    assert inputs_td[:, 2].tolist() == [-1, -1, 1, -1]  # one before: 4, 4, 8, 4
    assert inputs_td[:, 4].tolist() == [-2, -1.5, -1, -1]  # three before: 2, 3, 4, 4
    # The future still sees its seasons, then the nearest multiple of each lag that is known: 1 and
    # 2 back is the last value, three back of each.
    assert found.future_bhd[0, :, :4].tolist() == [[-1, -1, 1, 1], [1, 1, 1, -1]]
    assert found.base_bh.tolist() == [[4, 8]]


def test_a_lag_that_is_the_season_is_shown_once() -> None:
    shape = replace(PLAIN, lags=(2, 3))
    assert shape.lags_hn.tolist() == [[2, 4, 3], [2, 4, 3]]
    assert shape.history_length == 7


def test_with_the_scaling_last_differences_from_the_last_value_are_predicted() -> None:
    found = coded(replace(PLAIN, scaling="last"))
    in_units = np.array([-4, 0, -4, 0]) / VALUES.std()
    np.testing.assert_allclose(found.inputs_btd[0, :, 0], in_units, rtol=1e-6)
    assert found.base_bh.tolist() == [[8, 8]]
    assert found.seasonal_naive_bh.tolist() == [[4, 8]]


def test_past_covariates_are_standardised_by_the_context_and_masked() -> None:
    past_tp = np.array([[900.0, 5], [0, 5], [0, 5], [0, 5], [10, 7], [14, 7], [NAN, 7], [12, 7]])
    found = coded(replace(PLAIN, past_covariates=2), past_covariates=[past_tp])
    first, observed, second, also = found.inputs_btd[0, :, 6:].T
    np.testing.assert_allclose(first, [-np.sqrt(1.5), np.sqrt(1.5), 0, 0], rtol=1e-6, atol=1e-7)
    assert observed.tolist() == [1, 1, 0, 1]
    assert not second.any()  # it does not change within the context
    assert also.all()


def test_future_covariates_reach_into_the_horizon() -> None:
    known_tf = np.array([[5.0]] * 4 + [[0]] * 4 + [[1], [NAN]])
    shape = replace(PLAIN, future_covariates=1)
    found = coded(shape, future_covariates=[known_tf])
    # Of the five known values of context and horizon the mean is 0.2, the deviation 0.4.
    np.testing.assert_allclose(found.inputs_btd[0, :, 6], [-0.5] * 4)
    assert found.inputs_btd[0, :, 7].all()
    np.testing.assert_allclose(found.future_bhd[0, :, 4:], [[2, 1], [0, 0]])
    ended = coded(shape, future_covariates=[known_tf[:8]])
    assert not ended.future_bhd[0, :, 4:].any()


def test_static_covariates_stand_at_each_timestep() -> None:
    columns = (
        StaticColumn(column="kind", words=["new", "old", "used"]),
        StaticColumn(column="size", location=3.0, scale=2.0),
    )
    shape = replace(PLAIN, static=columns)
    found = coded(shape, static_covariates=np.array([[1.0, 8.0]]))
    assert found.inputs_btd[0, :, 6:].tolist() == [[0, 1, 0, 2.5, 1]] * 4
    unknown = coded(shape, static_covariates=np.array([[NAN, NAN]]))
    assert not unknown.inputs_btd[0, :, 6:].any()


def test_calendar_and_age_of_context_and_horizon() -> None:
    found = coded(replace(PLAIN, frequency="1d", age=True))
    week = 2 * np.pi * (np.arange(4, 10) % 7) / 7  # the series starts on a Monday
    np.testing.assert_allclose(found.inputs_btd[0, :, 6], np.sin(week[:4]), atol=1e-6)
    np.testing.assert_allclose(found.future_bhd[0, :, 4], np.sin(week[4:]), atol=1e-6)
    np.testing.assert_allclose(found.inputs_btd[0, :, -1], np.log10(np.arange(6, 10)), rtol=1e-6)
    np.testing.assert_allclose(found.future_bhd[0, :, -1], np.log10([10, 11]), rtol=1e-6)


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_no_size_of_a_covariate_overflows(size: float) -> None:
    past_tp = size * np.arange(8.0)[:, None]
    found = coded(replace(PLAIN, past_covariates=1), past_covariates=[past_tp])
    deviation = np.sqrt(1.25)
    expected = np.array([-1.5, -0.5, 0.5, 1.5]) / deviation
    np.testing.assert_allclose(found.inputs_btd[0, :, 6], expected, rtol=1e-6)


def test_what_is_wanted_and_not_there_is_missing_throughout() -> None:
    shape = replace(PLAIN, past_covariates=1, future_covariates=1)
    found = coded(shape)
    assert not found.inputs_btd[0, :, 6:].any()
    assert not found.future_bhd[0, :, 4:].any()
