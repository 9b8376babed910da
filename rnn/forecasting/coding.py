"""Windows as a network reads them: in units of the window, with what is missing masked."""

from dataclasses import dataclass

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
    read = [scaled_bt[:, length - context - lag : length - lag] for lag in (0, *shape.read_lags)]
    known_btf = standardised(batch.known_btf)
    inputs_btd = np.concatenate(
        [
            _observed_pairs(np.stack(read, axis=2)),
            _repeated(_size_features(scale), context),
            _observed_pairs(standardised(batch.past_btp)),
            _observed_pairs(known_btf[:, :context]),
            batch.time_btc[:, :context],
            _repeated(static_features(batch.static_bk, shape.static), context),
        ],
        axis=2,
    )
    columns_hn = length - shape.lags_hn + np.arange(shape.horizon)[:, None]
    lagged_bhn = scaled_bt[:, columns_hn]
    future_bhd = np.concatenate(
        [
            np.nan_to_num(lagged_bhn),
            ~np.isnan(lagged_bhn),
            _observed_pairs(known_btf[:, context:]),
            batch.time_btc[:, context:],
        ],
        axis=2,
    )
    seasons = columns_hn[:, : shape.num_seasons]
    seasonal_naive_bh = _seasonal_naive(history_bt, history_bt[:, seasons])
    return CodedWindows(
        np.clip(inputs_btd, -FURTHEST, FURTHEST).astype(np.float32),
        np.clip(future_bhd, -FURTHEST, FURTHEST).astype(np.float32),
        np.repeat(scale.location_b[:, None], shape.horizon, axis=1)
        if shape.scaling == "last"
        else seasonal_naive_bh,
        seasonal_naive_bh,
        scale,
    )


def _size_features(scale: WindowScale) -> FloatArray:
    relative_b = scale.scale_b / (np.abs(scale.location_b) + scale.scale_b)
    return np.stack([relative_b, np.log10(scale.scale_b) / 10], axis=1)


def _observed_pairs(values_btn: FloatArray) -> FloatArray:
    """[B, T, 2n]: each value, 0 where it is missing, then whether it was observed."""
    batch, timesteps, count = values_btn.shape
    pairs_btn2 = np.stack([np.nan_to_num(values_btn), ~np.isnan(values_btn)], axis=3)
    return pairs_btn2.reshape(batch, timesteps, 2 * count)


def _repeated(features_bk: FloatArray, context: int) -> FloatArray:
    """The same features at each timestep, [B, T, K]."""
    return np.repeat(features_bk[:, None, :], context, axis=1)


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
