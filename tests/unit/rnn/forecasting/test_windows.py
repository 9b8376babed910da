import numpy as np
import pytest

from rnn.data.examples import SeriesExamples
from rnn.forecasting.coding import CodedWindows, code_windows
from rnn.forecasting.scale import fit_window_scale, last_observed
from rnn.forecasting.windows import SeriesWindows, WindowSampler, WindowShape

SHAPE = WindowShape(context_length=8, horizon=5, season_length=4)


def windows_of(series: list[np.ndarray], shape: WindowShape) -> SeriesWindows:
    ids = [str(index) for index in range(len(series))]
    return SeriesWindows(SeriesExamples(ids, series, [None for _ in series], None), shape)


def coded_ends(series: list[np.ndarray], shape: WindowShape = SHAPE) -> CodedWindows:
    return code_windows(windows_of(series, shape).ends(), shape)


def sampler_of(series: list[np.ndarray], shape: WindowShape = SHAPE) -> WindowSampler:
    return WindowSampler(windows_of(series, shape))


def test_lags_are_the_same_place_of_past_seasons() -> None:
    assert SHAPE.num_seasons == 2
    assert SHAPE.lags_hn.tolist() == [[4, 8], [4, 8], [4, 8], [4, 8], [8, 12]]
    assert SHAPE.history_length == 12


def test_the_base_repeats_the_last_season() -> None:
    values = np.arange(20.0)
    coded = coded_ends([values])
    assert coded.base_bh.tolist() == [[16, 17, 18, 19, 16]]


def test_without_a_season_the_base_repeats_the_last_value() -> None:
    shape = WindowShape(context_length=4, horizon=3, season_length=1)
    coded = coded_ends([np.array([1.0, 7.0])], shape)
    assert coded.base_bh.tolist() == [[7, 7, 7]]


def test_a_missing_value_in_the_last_season_is_taken_from_the_one_before() -> None:
    values = np.arange(20.0)
    values[17] = np.nan
    coded = coded_ends([values])
    assert coded.base_bh.tolist() == [[16, 13, 18, 19, 16]]


def test_a_short_series_is_padded_at_the_start_and_masked() -> None:
    coded = coded_ends([np.array([3.0, 5.0])])
    assert coded.inputs_btd[0, :, 1].tolist() == [0] * 6 + [1, 1]
    assert not coded.inputs_btd[0, :6, 0].any()
    assert coded.base_bh.tolist() == [[5, 5, 3, 5, 5]]


def test_a_row_is_coded_alike_in_any_batch() -> None:
    random = np.random.default_rng(0)
    rows = [random.normal(size=length) for length in (3, 30, 12)]
    together = coded_ends(rows)
    for index, row in enumerate(rows):
        alone = coded_ends([row])
        assert np.array_equal(together.inputs_btd[index], alone.inputs_btd[0])
        assert np.array_equal(together.future_bhd[index], alone.future_bhd[0])


def test_coding_does_not_depend_on_the_unit() -> None:
    values = np.random.default_rng(1).normal(size=SHAPE.history_length) + 5
    coded, larger = coded_ends([values]), coded_ends([values * 1e6])
    np.testing.assert_allclose(
        coded.inputs_btd[:, :, :5], larger.inputs_btd[:, :, :5], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(coded.future_bhd, larger.future_bhd, rtol=1e-5, atol=1e-6)


def test_a_series_that_ends_in_missing_values_keeps_its_last_observed_one() -> None:
    values = np.concatenate([[2.0, 9.0], np.full(30, np.nan)])
    coded = coded_ends([values])
    assert coded.base_bh.tolist() == [[9] * 5]
    assert np.isfinite(coded.inputs_btd).all()


@pytest.mark.parametrize("row", [[0.0, 0.0], [7.0, 7.0], [np.nan, np.nan], [1e-300, 2e-300]])
def test_a_window_without_variation_has_a_usable_scale(row: list[float]) -> None:
    scale = fit_window_scale(np.array([row]))
    assert scale.scale_b[0] > 0
    assert np.isfinite(scale.location_b[0])


def test_scaling_ignores_missing_values() -> None:
    with_gap = fit_window_scale(np.array([[1.0, np.nan, 3.0, 8.0]]))
    without = fit_window_scale(np.array([[1.0, 3.0, 8.0]]))
    assert with_gap.scale_b == pytest.approx(without.scale_b)
    assert with_gap.location_b == pytest.approx(without.location_b)


def test_last_observed_skips_missing_values() -> None:
    rows = np.array([[1.0, 2.0, np.nan], [np.nan, np.nan, 4.0], [np.nan] * 3])
    np.testing.assert_array_equal(last_observed(rows), [2, 4, np.nan])


def test_training_windows_never_touch_the_held_out_horizon_or_another_series() -> None:
    series = [np.arange(20.0), np.arange(100.0, 140.0), np.arange(900.0, 905.0)]
    sampler = sampler_of(series)
    drawn = sampler.draw(np.arange(len(sampler)))
    history_bt, future_bh = drawn.history_bt, drawn.future_bh
    held_out = np.concatenate([np.arange(15, 20), np.arange(135, 140)])
    assert not np.isin(future_bh, held_out).any()
    assert not np.isin(history_bt, held_out).any()
    assert not (history_bt >= 900).any()
    joined = np.concatenate([history_bt, future_bh], axis=1)
    steps = np.diff(joined, axis=1)
    assert np.all((steps == 1) | np.isnan(steps))
    assert len(sampler) == (10 - 5 + 1) + (30 - 5 + 1)


def test_windows_without_a_value_to_read_or_to_learn_are_not_drawn() -> None:
    values = np.full(40, np.nan)
    values[30:] = 1.0
    sampler = sampler_of([values])
    drawn = sampler.draw(np.arange(len(sampler)))
    history_bt, future_bh = drawn.history_bt, drawn.future_bh
    # Cuts 31 to 35 would have an observed past, but only up to 30 leaves the last horizon held out.
    assert len(sampler) == 0
    assert history_bt.shape == (0, SHAPE.history_length)
    assert future_bh.shape == (0, 5)
