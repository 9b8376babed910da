"""Which windows are held out: nothing that is predicted overlaps what is learned from."""

import numpy as np
import pytest

from rnn.forecasting.backtest import BackTest, HeldOut


def test_by_default_the_last_horizon_is_held_out() -> None:
    test = BackTest(horizon=5, step=5, validation_windows=1, test_windows=0)
    assert test.held_out == 5
    assert test.validation_origins(30).tolist() == [25]
    assert not len(test.test_origins(30))


def test_the_windows_of_the_ett_benchmark() -> None:
    test = BackTest(horizon=96, step=1, validation_windows=2785, test_windows=2785)
    assert test.held_out == 14_400 - 8_640
    assert test.validation_origins(14_400)[[0, -1]].tolist() == [8_640, 11_520 - 96]
    assert test.test_origins(14_400)[[0, -1]].tolist() == [11_520, 14_400 - 96]


@pytest.mark.parametrize("step", [1, 3, 5, 8])
@pytest.mark.parametrize("validation_windows", [1, 4])
def test_the_parts_do_not_overlap_and_end_with_the_series(
    step: int, validation_windows: int
) -> None:
    horizon, length = 5, 100
    test = BackTest(horizon, step, validation_windows, test_windows=3)
    validation, tested = test.validation_origins(length), test.test_origins(length)
    assert len(validation) == validation_windows
    assert len(tested) == 3
    assert validation[-1] + horizon <= tested[0]
    assert tested[-1] + horizon == length
    assert validation[0] == length - test.held_out
    assert set(np.diff(tested)) == {step}


def test_a_short_series_has_the_origins_that_it_has_room_for() -> None:
    test = BackTest(horizon=2, step=2, validation_windows=5, test_windows=0)
    assert test.validation_origins(7).tolist() == [1, 3, 5]


def test_windows_without_a_value_behind_or_ahead_are_left_out() -> None:
    gap = np.array([np.nan, np.nan, 1, 2, np.nan, np.nan, 3])
    part = HeldOut.of([gap, np.arange(4.0)], [np.array([1, 3, 4, 5]), np.array([], int)], 2)
    assert part.series_b.tolist() == [0, 0]
    assert part.origin_b.tolist() == [3, 5]
    assert part.known[0].tolist()[2:] == [1]


def test_thinned_windows_are_spread_over_all() -> None:
    series = [np.arange(50.0)] * 2
    part = HeldOut.of(series, [np.arange(10, 40)] * 2, 5).thinned(4)
    assert part.series_b.tolist() == [0, 0, 1, 1]
    assert part.origin_b.tolist() == [10, 29, 19, 39]
