"""Windows of series: which timesteps a forecaster reads, which it must predict."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rnn.config import ForecastingData
from rnn.config.forecasting import ScalingName, StaticColumn
from rnn.data.examples import SeriesExamples
from rnn.errors import ConfigError
from rnn.forecasting.backtest import BackTest
from rnn.forecasting.calendar import calendar_cycles, calendar_features
from rnn.forecasting.scale import deviation_so_far, last_observed

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MOST_SEASONS = 8
VALUE_FEATURES = 2  # the value and whether it was observed; a covariate and a lag likewise
SIZE_FEATURES = 2  # relative scale of the window, and the size of that scale


@dataclass(frozen=True)
class WindowShape:
    """What a window holds. Lengths are in timesteps.

    Attributes:
        lags: chosen by the caller; empty: one season.
        past_covariates, future_covariates: how many.
        static: how each static covariate is coded.
        frequency: distance of two timesteps where the calendar is read, else None.
        age: whether a timestep's distance from the start of its series is read.
        validation_windows, test_windows, window_step: how many forecast origins at the end of each
            series are held out, and how far they lie apart; None: the horizon.
    """

    context_length: int
    horizon: int
    season_length: int
    lags: tuple[int, ...] = ()
    scaling: ScalingName = "mean"
    past_covariates: int = 0
    future_covariates: int = 0
    static: tuple[StaticColumn, ...] = ()
    frequency: str | None = None
    age: bool = False
    validation_windows: int = 1
    test_windows: int = 0
    window_step: int | None = None

    @classmethod
    def of(cls, data: ForecastingData) -> "WindowShape":
        assert data.context_length is not None, "resolved before"
        assert data.horizon is not None, "resolved before"
        assert data.season_length is not None, "resolved before"
        assert data.static_columns is not None or not data.static_covariates, "resolved before"
        assert data.frequency is not None or not data.calendar, "resolved before"
        return cls(
            data.context_length,
            data.horizon,
            data.season_length,
            tuple(sorted(set(data.lags))),
            data.scaling,
            len(data.past_covariates),
            len(data.future_covariates),
            tuple(data.static_columns or ()),
            data.frequency if data.calendar else None,
            data.age,
            data.validation_windows,
            data.test_windows,
            data.window_step,
        )

    @property
    def back_test(self) -> BackTest:
        step = self.window_step or self.horizon
        return BackTest(self.horizon, step, self.validation_windows, self.test_windows)

    @property
    def read_lags(self) -> tuple[int, ...]:
        """Timesteps back whose values are read beside each one of the context."""
        return self.lags or (self.season_length,)

    @property
    def num_seasons(self) -> int:
        """How many past seasons are shown for each future timestep."""
        return max(1, min(MOST_SEASONS, self.context_length // self.season_length))

    @property
    def time_features(self) -> int:
        cycles = calendar_cycles(self.frequency) if self.frequency else ()
        return 2 * len(cycles) + self.age

    @property
    def static_features(self) -> int:
        widths = [VALUE_FEATURES if one.words is None else len(one.words) for one in self.static]
        return sum(widths)

    @cached_property
    def input_features(self) -> int:
        """What is read of each timestep of the context."""
        values = 1 + len(self.read_lags) + self.past_covariates + self.future_covariates
        return VALUE_FEATURES * values + SIZE_FEATURES + self.time_features + self.static_features

    @property
    def future_features(self) -> int:
        """What is known of each future timestep."""
        values = int(self.lags_hn.shape[1]) + self.future_covariates
        return VALUE_FEATURES * values + self.time_features

    @cached_property
    def lags_hn(self) -> IntArray:
        """[horizon, n] timesteps between a future timestep and the past values shown for it: the
        same place in the last season, the season before, and so on, then the nearest multiple of
        each chosen lag."""
        ahead_h = np.arange(1, self.horizon + 1)
        columns = [
            self.season_length * (-(-ahead_h // self.season_length) + past)
            for past in range(self.num_seasons)
        ]
        chosen = [lag for lag in self.lags if lag != self.season_length]
        columns += [lag * -(-ahead_h // lag) for lag in chosen]
        return np.stack(columns, axis=1)

    @cached_property
    def history_length(self) -> int:
        """Timesteps before the forecast that any part of the coding looks at."""
        ahead_h1 = np.arange(1, self.horizon + 1)[:, None]
        furthest_lag = int((self.lags_hn - ahead_h1).max()) + 1
        return max(self.context_length + max(self.read_lags), furthest_lag)


@dataclass(frozen=True)
class WindowBatch:
    """Windows as they stand in the series. NaN is a missing value, and what lies outside a series.

    Attributes:
        history_bt: [B, history_length] values up to the last known one; each row has one at least.
        future_bh: [B, horizon] values after it.
        deviation_b: standard deviation of the series up to there, where the scaling asks for it.
        past_btp: [B, context_length, past covariates].
        known_btf: [B, context_length + horizon, future covariates].
        static_bk: [B, static covariates].
        time_btc: [B, context_length + horizon, time features], ready for the network.
    """

    history_bt: FloatArray
    future_bh: FloatArray
    deviation_b: FloatArray | None
    past_btp: FloatArray
    known_btf: FloatArray
    static_bk: FloatArray
    time_btc: FloatArray

    def __len__(self) -> int:
        return len(self.history_bt)

    def part(self, rows: slice) -> "WindowBatch":
        """A view of neighbouring rows."""
        return WindowBatch(
            self.history_bt[rows],
            self.future_bh[rows],
            None if self.deviation_b is None else self.deviation_b[rows],
            self.past_btp[rows],
            self.known_btf[rows],
            self.static_bk[rows],
            self.time_btc[rows],
        )


class _Ragged:
    """Arrays [T] or [T, features] of different lengths, read by their positions; NaN outside. An
    array that several series share is kept once."""

    def __init__(self, arrays: Sequence[FloatArray]) -> None:
        self.lengths = np.array([len(array) for array in arrays], dtype=np.int64)
        distinct = {id(array): array for array in arrays}
        ends = np.cumsum([len(array) for array in distinct.values()])
        starts = dict(zip(distinct, [0, *ends[:-1]], strict=True))
        self._starts = np.array([starts[id(array)] for array in arrays], dtype=np.int64)
        outside = np.full((1, *arrays[0].shape[1:]), np.nan)
        self._flat = np.concatenate([*distinct.values(), outside])

    def read(self, series_b: IntArray, position_bt: IntArray) -> FloatArray:
        outside_bt = (position_bt < 0) | (position_bt >= self.lengths[series_b][:, None])
        index_bt = self._starts[series_b][:, None] + position_bt
        found: FloatArray = self._flat[np.where(outside_bt, len(self._flat) - 1, index_bt)]
        return found


class SeriesWindows:
    """Windows at any place of many series, with all that is known beside the values.

    A covariate that the shape wants and the examples do not hold is missing throughout. The
    calendar needs the start of every series, or a ConfigError is raised.
    """

    def __init__(self, examples: SeriesExamples, shape: WindowShape) -> None:
        if shape.frequency is not None and None in examples.starts:
            raise ConfigError("calendar needs the time of each series' first value")
        self.shape = shape
        self.examples = examples
        self._values = _Ragged(examples.values)
        self._deviation: _Ragged | None = None
        if shape.scaling == "last":
            self._deviation = _Ragged([deviation_so_far(values) for values in examples.values])
        self._past = _Ragged(examples.past_covariates) if examples.past_covariates else None
        self._known = _Ragged(examples.future_covariates) if examples.future_covariates else None

    @property
    def lengths(self) -> IntArray:
        return self._values.lengths

    def at(self, series_b: IntArray, origin_b: IntArray) -> WindowBatch:
        """The windows whose future starts at position `origin_b` of the series numbered `series_b`,
        at most just after its end."""
        shape, batch = self.shape, len(series_b)
        columns_t = np.arange(-shape.history_length, shape.horizon)
        values_bt = self._values.read(series_b, origin_b[:, None] + columns_t)
        history_bt, future_bh = np.split(values_bt, [shape.history_length], axis=1)
        self._keep_last_observed(history_bt, series_b, origin_b)
        position_bt = origin_b[:, None] + np.arange(-shape.context_length, shape.horizon)
        known_btf = np.full((*position_bt.shape, shape.future_covariates), np.nan)
        past_btp = np.full((batch, shape.context_length, shape.past_covariates), np.nan)
        if self._past is not None:
            past_btp = self._past.read(series_b, position_bt[:, : shape.context_length])
        if self._known is not None:
            known_btf = self._known.read(series_b, position_bt)
        static = self.examples.static_covariates
        return WindowBatch(
            history_bt,
            future_bh,
            self._deviation.read(series_b, origin_b[:, None])[:, 0] if self._deviation else None,
            past_btp,
            known_btf,
            np.full((batch, len(shape.static)), np.nan) if static is None else static[series_b],
            time_features(shape, [self.examples.starts[index] for index in series_b], position_bt),
        )

    def ends(self) -> WindowBatch:
        """The windows whose history is the end of each series."""
        return self.at(np.arange(len(self.lengths)), self.lengths)

    def _keep_last_observed(
        self, history_bt: FloatArray, series_b: IntArray, origin_b: IntArray
    ) -> None:
        """Where nothing in reach was observed, the first column takes the last value before it."""
        for row in np.flatnonzero(np.isnan(history_bt).all(axis=1)):
            before = self.examples.values[series_b[row]][: origin_b[row]]
            if len(before):
                history_bt[row, 0] = last_observed(before[None, :])[0]


def time_features(
    shape: WindowShape, starts_b: Sequence[datetime | None], position_bt: IntArray
) -> FloatArray:
    """[B, T, time features] of timesteps at positions in their series.

    Args:
        starts_b: time of position 0 of each row; not None where the calendar is read.
    """
    features = []
    if shape.frequency is not None:
        starts = [start for start in starts_b if start is not None]
        assert len(starts) == len(starts_b), "checked at the beginning"
        features.append(calendar_features(starts, position_bt, shape.frequency))
    if shape.age:
        # A series of hundred timesteps and one of ten thousand both stay within a few units.
        age_bt = np.log10(2.0 + np.maximum(position_bt, 0))
        features.append(age_bt[:, :, None])
    return np.concatenate([np.zeros((*position_bt.shape, 0)), *features], axis=2)


class WindowSampler:
    """Training windows of many series, the end of each held out.

    Only windows with an observed value both in reach behind and in the future are drawn.
    """

    def __init__(self, windows: SeriesWindows) -> None:
        self._windows = windows
        shape = windows.shape
        first_cut = min(shape.context_length, shape.season_length + 1)
        owners, cuts = [], []
        for index, values in enumerate(windows.examples.values):
            last_cut = len(values) - shape.back_test.held_out - shape.horizon
            candidate = np.arange(max(1, min(first_cut, last_cut)), last_cut + 1)
            seen = np.concatenate([[0], np.cumsum(~np.isnan(values))])
            reached_from = np.maximum(candidate - shape.history_length, 0)
            usable = (seen[candidate] > seen[reached_from]) & (
                seen[candidate + shape.horizon] > seen[candidate]
            )
            cuts.append(candidate[usable])
            owners.append(np.full(int(usable.sum()), index, dtype=np.int64))
        self._owners = np.concatenate(owners)
        self._cuts = np.concatenate(cuts)

    def __len__(self) -> int:
        return len(self._cuts)

    def draw(self, windows: IntArray) -> WindowBatch:
        """The numbered windows, from 0 to the length of this."""
        return self._windows.at(self._owners[windows], self._cuts[windows])
