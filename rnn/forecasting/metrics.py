"""Held-out figures of forecasts, as pure functions of forecasts and truth."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def seasonal_error(values: FloatArray, season_length: int) -> float:
    """Mean absolute change over one season in a series; NaN where nothing can be compared. A series
    shorter than its season is compared timestep by timestep."""
    lag = season_length if len(values) > season_length else 1
    change = np.abs(values[lag:] - values[:-lag])
    change = change[~np.isnan(change)]
    return float(change.mean()) if len(change) else math.nan


def mase(forecast_bh: FloatArray, truth_bh: FloatArray, seasonal_error_b: FloatArray) -> float:
    """Mean absolute scaled error (Hyndman and Koehler 2006), the mean of the series' values.

    A series that never changes from season to season has no scale and is left out; so is one whose
    truth is all missing.
    """
    usable_b = (seasonal_error_b > 0) & ~np.isnan(truth_bh).all(axis=1)
    if not usable_b.any():
        return math.nan
    error_b = np.nanmean(np.abs(forecast_bh - truth_bh)[usable_b], axis=1)
    return float((error_b / seasonal_error_b[usable_b]).mean())


def smape(forecast_bh: FloatArray, truth_bh: FloatArray) -> float:
    """Symmetric mean absolute percentage error as in the M competitions, 0 to 200."""
    size_bh = np.abs(forecast_bh) + np.abs(truth_bh)
    error_bh = np.abs(forecast_bh - truth_bh)
    share_bh = np.where(size_bh > 0, error_bh / np.where(size_bh > 0, size_bh, 1), 0.0)
    return float(200 * np.nanmean(np.where(np.isnan(truth_bh), np.nan, share_bh)))


def weighted_quantile_loss(
    quantiles_bhq: FloatArray, truth_bh: FloatArray, levels: Sequence[float]
) -> float:
    """Quantile loss over all series, as a share of the sum of the true sizes (Park et al. 2022)."""
    error_bhq = truth_bh[:, :, None] - quantiles_bhq
    levels_q = np.asarray(levels)
    loss_q = 2 * np.nansum(np.maximum(levels_q * error_bhq, (levels_q - 1) * error_bhq), (0, 1))
    total = np.nansum(np.abs(truth_bh))
    return float(loss_q.mean() / total) if total > 0 else math.nan


def finite(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics that have a value: one that the data leaves undefined is absent, not NaN."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}
