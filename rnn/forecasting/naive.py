"""Naive forecasts that others are compared with."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_LEAST_INDEX = 1e-6


@dataclass(frozen=True)
class Naive2:
    """The last value, seasonally adjusted: the yardstick of the M4 competition (Makridakis et al.
    2020).

    Attributes:
        index_s: the seasonal factor at each place of a season, counted from the series' start; all
            1 for a series without a clear season.
    """

    index_s: FloatArray

    @classmethod
    def fit(cls, known: FloatArray, season_length: int) -> "Naive2":
        """From the values of one series that may be looked at; NaN is not observed."""
        flat = cls(np.ones(season_length))
        observed = known[~np.isnan(known)]
        if not (observed > 0).all() or not _is_seasonal(known, season_length):
            return flat
        ratio = known / _centred_average(known, season_length)
        place_t = np.arange(len(known)) % season_length
        ratios = [ratio[(place_t == place) & ~np.isnan(ratio)] for place in range(season_length)]
        if not all(len(found) for found in ratios):
            return flat
        index_s = np.array([found.mean() for found in ratios])
        index_s = np.maximum(index_s / index_s.mean(), _LEAST_INDEX)
        return cls(index_s)

    def forecast(self, last: FloatArray, last_at: IntArray, ahead_bh: IntArray) -> FloatArray:
        """[B, H] values at positions `ahead_bh` of the series, from its last observed values [B]
        at positions `last_at`."""
        season = len(self.index_s)
        adjusted_b = last / self.index_s[last_at % season]
        values_bh: FloatArray = adjusted_b[:, None] * self.index_s[ahead_bh % season]
        return values_bh


def _is_seasonal(values: FloatArray, season_length: int) -> bool:
    """Whether the autocorrelation one season apart is larger than chance makes it at 90 %."""
    if season_length == 1 or len(values) < 3 * season_length:
        return False
    centred = np.nan_to_num(values - np.nanmean(values))
    variance = float((centred**2).sum())
    if variance == 0:
        return False
    correlations = [
        float((centred[lag:] * centred[:-lag]).sum()) / variance
        for lag in range(1, season_length + 1)
    ]
    spread = 1 + 2 * sum(correlation**2 for correlation in correlations[:-1])
    return abs(correlations[-1]) > 1.645 * math.sqrt(spread / len(values))


def _centred_average(values: FloatArray, season_length: int) -> FloatArray:
    """Moving average over one season, centred; NaN at both ends and beside missing values."""
    if season_length % 2:
        weights = np.full(season_length, 1 / season_length)
    else:
        weights = np.full(season_length + 1, 1 / season_length)
        weights[[0, -1]] /= 2
    reach = len(weights) // 2
    average = np.full(len(values), np.nan)
    average[reach : len(values) - reach] = np.convolve(values, weights, mode="valid")
    return average
