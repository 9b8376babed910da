"""Windows of series: what a forecaster reads, what it must predict, and how both are coded."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnn.config import ForecastingData
from rnn.forecasting.scale import WindowScale, fit_window_scale

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Float32Array = NDArray[np.float32]

MOST_LAGS = 8
# value, observed, value one season earlier, its observed flag, relative scale, size of the scale
INPUT_FEATURES = 6


@dataclass(frozen=True)
class WindowShape:
    """Lengths in timesteps."""

    context_length: int
    horizon: int
    season_length: int

    @classmethod
    def of(cls, data: ForecastingData) -> "WindowShape":
        assert data.context_length is not None, "resolved before"
        assert data.horizon is not None, "resolved before"
        assert data.season_length is not None, "resolved before"
        return cls(data.context_length, data.horizon, data.season_length)

    @property
    def num_lags(self) -> int:
        """How many past seasons are shown for each future timestep."""
        return max(1, min(MOST_LAGS, self.context_length // self.season_length))

    @property
    def future_features(self) -> int:
        return 2 * self.num_lags

    @property
    def lags_hn(self) -> IntArray:
        """[horizon, num_lags] timesteps between a future timestep and the past values shown for it:
        the same place in the last season, the season before, and so on."""
        ahead_h = np.arange(1, self.horizon + 1)
        nearest_h = self.season_length * (-(-ahead_h // self.season_length))
        return nearest_h[:, None] + self.season_length * np.arange(self.num_lags)

    @property
    def history_length(self) -> int:
        """Timesteps before the forecast that any part of the coding looks at."""
        furthest_lag = int((self.lags_hn - np.arange(1, self.horizon + 1)[:, None]).max()) + 1
        return max(self.context_length + self.season_length, furthest_lag)


@dataclass(frozen=True)
class CodedWindows:
    """What the network reads, in units of the window, and what brings its answers back.

    Attributes:
        inputs_btd: float32 [B, context_length, INPUT_FEATURES], padded at the start.
        future_bhd: float32 [B, horizon, future_features].
        base_bh: seasonal naive forecast in the unit of the series, which the network corrects.
        scale: location and size of each window.
    """

    inputs_btd: Float32Array
    future_bhd: Float32Array
    base_bh: FloatArray
    scale: WindowScale


def code_windows(history_bt: FloatArray, shape: WindowShape) -> CodedWindows:
    """Codes windows whose last column is the last known timestep.

    Args:
        history_bt: [B, history_length]; NaN for missing values and before the start of a series.
            Each row has at least one value.
    """
    length, context = history_bt.shape[1], shape.context_length
    context_bt = history_bt[:, length - context :]
    scale = fit_window_scale(_with_last_value(context_bt, history_bt))
    scaled_bt = scale.transform(history_bt)
    value_bt = scaled_bt[:, length - context :]
    season_ago_bt = scaled_bt[:, length - context - shape.season_length : -shape.season_length]
    relative_b = scale.scale_b / (np.abs(scale.location_b) + scale.scale_b)
    ones_bt = np.ones_like(value_bt)
    inputs_btd = np.stack(
        [
            np.nan_to_num(value_bt),
            ~np.isnan(value_bt),
            np.nan_to_num(season_ago_bt),
            ~np.isnan(season_ago_bt),
            relative_b[:, None] * ones_bt,
            np.log10(scale.scale_b)[:, None] / 10 * ones_bt,
        ],
        axis=2,
    ).astype(np.float32)
    columns_hn = length - shape.lags_hn + np.arange(shape.horizon)[:, None]
    lagged_bhn = scaled_bt[:, columns_hn]
    future_bhd = np.concatenate([np.nan_to_num(lagged_bhn), ~np.isnan(lagged_bhn)], axis=2)
    return CodedWindows(
        # Far outside the window's own range a network only extrapolates: bound what it sees.
        np.clip(inputs_btd, -20, 20),
        np.clip(future_bhd, -20, 20).astype(np.float32),
        _seasonal_naive(history_bt, history_bt[:, columns_hn]),
        scale,
    )


def _with_last_value(context_bt: FloatArray, history_bt: FloatArray) -> FloatArray:
    """The context, or where nothing in it was observed, the last value before it."""
    empty_b = np.isnan(context_bt).all(axis=1)
    if not empty_b.any():
        return context_bt
    filled_bt = context_bt.copy()
    filled_bt[empty_b, 0] = last_observed(history_bt[empty_b])
    return filled_bt


def _seasonal_naive(history_bt: FloatArray, lagged_bhn: FloatArray) -> FloatArray:
    """Per future timestep the nearest observed lag; without one the last observed value."""
    observed_bhn = ~np.isnan(lagged_bhn)
    nearest_bh = observed_bhn.argmax(axis=2)
    base_bh = np.take_along_axis(lagged_bhn, nearest_bh[:, :, None], axis=2)[:, :, 0]
    return np.where(np.isnan(base_bh), last_observed(history_bt)[:, None], base_bh)


def last_observed(values_bt: FloatArray) -> FloatArray:
    """The last value of each row that is not NaN; NaN for a row without any."""
    from_end_b = (~np.isnan(values_bt[:, ::-1])).argmax(axis=1)
    last_b: FloatArray = values_bt[np.arange(len(values_bt)), values_bt.shape[1] - 1 - from_end_b]
    return last_b


def trailing_history(series: Sequence[FloatArray], history_length: int) -> FloatArray:
    """[B, history_length] ends of the series, padded with NaN at the start. A series whose end is
    all missing keeps its last observed value in the first column."""
    history_bt = np.full((len(series), history_length), np.nan)
    for row, values in enumerate(series):
        tail = values[-history_length:]
        history_bt[row, history_length - len(tail) :] = tail
        if np.isnan(tail).all():
            history_bt[row, 0] = last_observed(values[None, :])[0]
    return history_bt


class WindowSampler:
    """Training windows of many series, the last horizon of each left out.

    A window is named by the position that its future starts at. Only windows with an observed value
    both in reach behind and in the future are drawn.
    """

    def __init__(self, series: Sequence[FloatArray], shape: WindowShape) -> None:
        self.shape = shape
        lengths = np.array([len(values) for values in series], dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self._flat = np.concatenate([*series, np.full(1, np.nan)])
        first_cut = min(shape.context_length, shape.season_length + 1)
        owners, cuts = [], []
        for index, values in enumerate(series):
            last_cut = len(values) - 2 * shape.horizon
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

    def draw(self, windows: IntArray) -> tuple[FloatArray, FloatArray]:
        """History [B, history_length] and future [B, horizon] of the numbered windows."""
        start_b = self._starts[self._owners[windows]]
        origin_b = start_b + self._cuts[windows]
        columns_t = np.arange(-self.shape.history_length, self.shape.horizon)
        index_bt = origin_b[:, None] + columns_t
        before_start_bt = index_bt < start_b[:, None]
        values_bt = self._flat[np.where(before_start_bt, len(self._flat) - 1, index_bt)]
        cut = self.shape.history_length
        return values_bt[:, :cut], values_bt[:, cut:]
