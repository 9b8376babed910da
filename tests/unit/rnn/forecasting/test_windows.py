import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn.data.examples import SeriesExamples
from rnn.forecasting.coding import CodedWindows, code_windows
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


@pytest.mark.parametrize(("origins", "step", "held_out"), [(1, None, 5), (3, None, 15), (4, 2, 11)])
def test_several_held_out_origins_leave_more_of_the_end_alone(
    origins: int, step: int | None, held_out: int
) -> None:
    shape = replace(SHAPE, validation_windows=origins, window_step=step)
    sampler = sampler_of([np.arange(40.0)], shape)
    drawn = sampler.draw(np.arange(len(sampler)))
    assert drawn.future_bh.max() == 39 - held_out


def test_covariates_that_series_share_are_kept_once() -> None:
    """As the columns of one table share them."""
    random = np.random.default_rng(0)
    shape = replace(SHAPE, past_covariates=64)
    series = [random.normal(size=20) for _ in range(100)]
    shared, own = random.normal(size=(2000, 64)), random.normal(size=(30, 64))
    past = [shared, own] * 50
    examples = SeriesExamples(list(map(str, range(100))), series, [None] * 100, None, past)
    tracemalloc.start()
    windows = SeriesWindows(examples, shape)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 3 * shared.nbytes
    for read, array in zip(windows.ends().past_btp, past, strict=True):
        np.testing.assert_array_equal(read, array[12:20])


@st.composite
def ragged_series(draw: st.DrawFn) -> list[np.ndarray]:
    """Series of 0 to 30 timesteps, any of them missing; the values say where they stand."""
    lengths = draw(st.lists(st.integers(0, 30), min_size=1, max_size=4))
    series = []
    for index, length in enumerate(lengths):
        values = 1000.0 * (index + 1) + np.arange(length)
        missing = draw(st.lists(st.booleans(), min_size=length, max_size=length))
        values[np.array(missing, dtype=bool)] = np.nan
        series.append(values)
    return series


@st.composite
def shapes(draw: st.DrawFn) -> WindowShape:
    return WindowShape(
        draw(st.integers(1, 9)),
        draw(st.integers(1, 6)),
        draw(st.integers(1, 5)),
        lags=tuple(sorted(draw(st.sets(st.integers(1, 12), max_size=2)))),
        scaling=draw(st.sampled_from(["mean", "last", "robust"])),
        past_covariates=1,
        future_covariates=1,
        validation_windows=draw(st.integers(1, 3)),
        test_windows=draw(st.integers(0, 2)),
        window_step=draw(st.none() | st.integers(1, 4)),
    )


@given(ragged_series(), shapes())
@settings(max_examples=150, deadline=None)
def test_a_window_holds_what_stands_around_its_origin(
    series: list[np.ndarray], shape: WindowShape
) -> None:
    # The covariate of a timestep is its position, so that any displacement would show.
    positions = [np.arange(float(len(values)))[:, None] for values in series]
    ids = [str(index) for index in range(len(series))]
    examples = SeriesExamples(
        ids, series, [None] * len(series), None, positions, [-place for place in positions]
    )
    sampler = WindowSampler(SeriesWindows(examples, shape))
    drawn = sampler.draw(np.arange(len(sampler)))
    coded = code_windows(drawn, shape)
    assert np.isfinite(coded.inputs_btd).all()
    assert np.isfinite(coded.future_bhd).all()
    assert np.isfinite(coded.base_bh).all()
    for row in range(len(drawn)):
        around = np.concatenate([drawn.history_bt[row], drawn.future_bh[row]])
        place = drawn.known_btf[row, :, 0]
        origin = -int(place[shape.context_length])
        in_context = drawn.past_btp[row, :, 0]
        np.testing.assert_array_equal(in_context, -place[: shape.context_length])
        assert not np.isnan(drawn.history_bt[row]).all()
        assert not np.isnan(drawn.future_bh[row]).all()
        owner = series[int(np.nanmax(around) // 1000) - 1]
        assert origin + shape.horizon <= len(owner) - shape.back_test.held_out
        first = max(0, origin - shape.history_length)
        seen = owner[first : origin + shape.horizon]
        np.testing.assert_array_equal(around[len(around) - len(seen) :], seen)
        assert np.isnan(around[: len(around) - len(seen)]).all()
