"""Held-out figures of forecasts, as pure functions of forecasts and truth.

Each is the sum over some windows and what it is divided by, so that figures of many windows are
added up from batches. NaN in the truth is not observed and left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Tally:
    """A weighted mean that can go on: its sum, and the weight of what was summed."""

    total: float = 0.0
    weight: float = 0.0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.total + other.total, self.weight + other.weight)

    @property
    def mean(self) -> float:
        """NaN where nothing was summed."""
        return self.total / self.weight if self.weight > 0 else math.nan


def seasonal_error(values: FloatArray, season_length: int) -> float:
    """Mean absolute change over one season in a series; NaN where nothing can be compared. A series
    shorter than its season is compared timestep by timestep."""
    lag = season_length if len(values) > season_length else 1
    change = np.abs(values[lag:] - values[:-lag])
    change = change[~np.isnan(change)]
    return float(change.mean()) if len(change) else math.nan


def mase(forecast_bh: FloatArray, truth_bh: FloatArray, seasonal_error_b: FloatArray) -> Tally:
    """Mean absolute scaled error (Hyndman and Koehler 2006), the mean of the windows' values.

    A series that never changes from season to season has no scale and is left out; so is a window
    whose truth is all missing.
    """
    return _scaled(np.abs(forecast_bh - truth_bh), seasonal_error_b)


def msis(
    lower_bh: FloatArray,
    upper_bh: FloatArray,
    truth_bh: FloatArray,
    seasonal_error_b: FloatArray,
    *,
    covers: float,
) -> Tally:
    """Mean scaled interval score (Gneiting and Raftery 2007) of intervals that should cover a share
    of the truth, scaled and averaged like the mean absolute scaled error."""
    missed_bh = np.maximum(lower_bh - truth_bh, 0) + np.maximum(truth_bh - upper_bh, 0)
    return _scaled(upper_bh - lower_bh + 2 / (1 - covers) * missed_bh, seasonal_error_b)


def _scaled(score_bh: FloatArray, scale_b: FloatArray) -> Tally:
    usable_b = (scale_b > 0) & ~np.isnan(score_bh).all(axis=1)
    score_b = np.nanmean(score_bh[usable_b], axis=1) / scale_b[usable_b]
    return Tally(float(score_b.sum()), len(score_b))


def smape(forecast_bh: FloatArray, truth_bh: FloatArray) -> Tally:
    """Symmetric mean absolute percentage error as in the M competitions, 0 to 200."""
    size_bh = np.abs(forecast_bh) + np.abs(truth_bh)
    error_bh = np.abs(forecast_bh - truth_bh)
    share_bh = np.where(size_bh > 0, error_bh / np.where(size_bh > 0, size_bh, 1), 0.0)
    observed_bh = ~np.isnan(truth_bh)
    return Tally(float(200 * share_bh[observed_bh].sum()), int(observed_bh.sum()))


def weighted_quantile_loss(
    quantiles_bhq: FloatArray, truth_bh: FloatArray, levels: Sequence[float]
) -> Tally:
    """Quantile loss over all windows, as a share of the sum of true sizes (Park et al. 2022)."""
    error_bhq = truth_bh[:, :, None] - quantiles_bhq
    levels_q = np.asarray(levels)
    loss_q = 2 * np.nansum(np.maximum(levels_q * error_bhq, (levels_q - 1) * error_bhq), (0, 1))
    return Tally(float(loss_q.mean()), float(np.nansum(np.abs(truth_bh))))


def coverage(lower_bh: FloatArray, upper_bh: FloatArray, truth_bh: FloatArray) -> Tally:
    """Share of the observed truth that lies in its interval."""
    observed_bh = ~np.isnan(truth_bh)
    inside_bh = (lower_bh <= truth_bh) & (truth_bh <= upper_bh)
    return Tally(int((inside_bh & observed_bh).sum()), int(observed_bh.sum()))


def mean_squared_error(
    forecast_bh: FloatArray, truth_bh: FloatArray, deviation_b: FloatArray
) -> Tally:
    """Mean squared error in units of the series' standard deviations."""
    return _standardised((forecast_bh - truth_bh) ** 2, deviation_b**2)


def mean_absolute_error(
    forecast_bh: FloatArray, truth_bh: FloatArray, deviation_b: FloatArray
) -> Tally:
    """Mean absolute error in units of the series' standard deviations."""
    return _standardised(np.abs(forecast_bh - truth_bh), deviation_b)


def _standardised(error_bh: FloatArray, unit_b: FloatArray) -> Tally:
    """A series that never changes has no unit and is left out."""
    usable_b = unit_b > 0
    scaled_bh = error_bh[usable_b] / unit_b[usable_b, None]
    return Tally(float(np.nansum(scaled_bh)), int((~np.isnan(scaled_bh)).sum()))


def finite(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics that have a value: one that the data leaves undefined is absent, not NaN."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}
