"""Windows as a network reads them: in units of the window, with what is missing masked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn.forecasting.covariates import standardised, static_features
from rnn.forecasting.scale import WindowScale, fit_window_scale, last_observed
from rnn.forecasting.windows import WindowBatch, WindowShape

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

# Far outside the window's own range a network only extrapolates: bound what it sees.
FURTHEST = 20


@dataclass(frozen=True)
class CodedWindows:
    """What the network reads, in units of the window, and what brings its answers back.

    Attributes:
        inputs_btd: float32 [B, context_length, input_features], padded at the start. The first two
            features are the value and whether it was observed.
        future_bhd: float32 [B, horizon, future_features].
        base_bh: what the network corrects, in the unit of the series: the seasonal naive forecast,
            or with the scaling `last` the last value.
        seasonal_naive_bh: the seasonal naive forecast in the unit of the series.
        scale: location and size of each window.
    """

    inputs_btd: Float32Array
    future_bhd: Float32Array
    base_bh: FloatArray
    seasonal_naive_bh: FloatArray
    scale: WindowScale


def code_windows(batch: WindowBatch, shape: WindowShape) -> CodedWindows:
    """Codes windows whose history ends with the last known timestep.

    Features of the context, in this order: value; the value at each lag; scale of the window,
    relative to its level and in powers of ten; past and future covariates; times; static
    covariates. Of the future: values at lags; future covariates; times. Values and covariates are
    each followed by whether they were observed.
    """
    history_bt, context = batch.history_bt, shape.context_length
    length = history_bt.shape[1]
    scale = fit_window_scale(
        _with_last_value(history_bt[:, length - context :], history_bt),
        shape.scaling,
        batch.deviation_b,
    )
    scaled_bt = scale.transform(history_bt)
    known_btf = standardised(batch.known_btf)
    inputs = _Features(len(batch), context, shape.input_features)
    for lag in (0, *shape.read_lags):
        inputs.add_observed(scaled_bt[:, length - context - lag : length - lag])
    inputs.add(scale.scale_b[:, None] / (np.abs(scale.location_b) + scale.scale_b)[:, None])
    inputs.add(np.log10(scale.scale_b)[:, None] / 10)
    inputs.add_each(standardised(batch.past_btp), inputs.add_observed)
    inputs.add_each(known_btf[:, :context], inputs.add_observed)
    inputs.add_each(batch.time_btc[:, :context], inputs.add)
    inputs.add_each(static_features(batch.static_bk, shape.static)[:, None], inputs.add)
    columns_hn = length - shape.lags_hn + np.arange(shape.horizon)[:, None]
    lagged_bhn = scaled_bt[:, columns_hn]
    future = _Features(len(batch), shape.horizon, shape.future_features)
    future.add_each(np.where(np.isnan(lagged_bhn), 0, lagged_bhn), future.add)
    future.add_each(~np.isnan(lagged_bhn), future.add)
    future.add_each(known_btf[:, context:], future.add_observed)
    future.add_each(batch.time_btc[:, context:], future.add)
    seasons = columns_hn[:, : shape.num_seasons]
    seasonal_naive_bh = _seasonal_naive(history_bt, history_bt[:, seasons])
    return CodedWindows(
        inputs.array_btd,
        future.array_btd,
        np.repeat(scale.location_b[:, None], shape.horizon, axis=1)
        if shape.scaling == "last"
        else seasonal_naive_bh,
        seasonal_naive_bh,
        scale,
    )


class _Features:
    """The features of each timestep, filled in one after the other."""

    def __init__(self, batch: int, timesteps: int, count: int) -> None:
        self.array_btd = np.empty((batch, timesteps, count), dtype=np.float32)
        self._filled = 0

    def add(self, values_bt: NDArray[Any]) -> None:
        """[B, T] or, for what is the same at each timestep, [B, 1]."""
        self.array_btd[:, :, self._filled] = np.maximum(np.minimum(values_bt, FURTHEST), -FURTHEST)
        self._filled += 1

    def add_observed(self, values_bt: FloatArray) -> None:
        """Each value, 0 where it is missing, then whether it was observed."""
        observed_bt = ~np.isnan(values_bt)
        self.add(np.where(observed_bt, values_bt, 0))
        self.add(observed_bt)

    def add_each(self, values_btn: NDArray[Any], add: Callable[[NDArray[Any]], None]) -> None:
        for place in range(values_btn.shape[2]):
            add(values_btn[:, :, place])


def _with_last_value(context_bt: FloatArray, history_bt: FloatArray) -> FloatArray:
    """The context, or where nothing in it was observed, the last value before it."""
    empty_b = np.isnan(context_bt).all(axis=1)
    if not empty_b.any():
        return context_bt
    filled_bt = context_bt.copy()
    filled_bt[empty_b, 0] = last_observed(history_bt[empty_b])
    return filled_bt


def _seasonal_naive(history_bt: FloatArray, lagged_bhn: FloatArray) -> FloatArray:
    """Per future timestep the nearest observed season; without one the last observed value."""
    observed_bhn = ~np.isnan(lagged_bhn)
    nearest_bh = observed_bhn.argmax(axis=2)
    naive_bh = np.take_along_axis(lagged_bhn, nearest_bh[:, :, None], axis=2)[:, :, 0]
    return np.where(np.isnan(naive_bh), last_observed(history_bt)[:, None], naive_bh)
