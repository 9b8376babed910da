"""Figures of a part of a back-test, added up from batches of its windows."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rnn.config import QUANTILE_LEVELS
from rnn.forecasting.backtest import HeldOut
from rnn.forecasting.decoding import Forecast
from rnn.forecasting.metrics import (
    Tally,
    coverage,
    finite,
    mase,
    mean_absolute_error,
    mean_squared_error,
    msis,
    seasonal_error,
    smape,
    weighted_quantile_loss,
)
from rnn.forecasting.naive import Naive2

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_MEDIAN = QUANTILE_LEVELS.index(0.5)
_LOWER_80, _UPPER_80 = QUANTILE_LEVELS.index(0.1), QUANTILE_LEVELS.index(0.9)
assert (QUANTILE_LEVELS[0], QUANTILE_LEVELS[-1]) == (0.025, 0.975), "the 95 % interval"


class Yardsticks:
    """What the figures of each series of a part are measured with, from the values before it.

    Args:
        part: windows that are held out.
        series: all values of each series.
        trained: by series, how many of its values training could see.
    """

    def __init__(
        self,
        part: HeldOut,
        series: Sequence[FloatArray],
        trained: Sequence[int],
        season_length: int,
        horizon: int,
    ) -> None:
        self._series = series
        self._horizon = horizon
        self._seasonal_error = np.full(len(series), np.nan)
        self._deviation = np.full(len(series), np.nan)
        self._naive2: dict[int, Naive2] = {}
        self._last_seen: dict[int, IntArray] = {}
        for index, known in part.known.items():
            self._seasonal_error[index] = seasonal_error(known, season_length)
            seen = known[: trained[index]] if trained[index] > 0 else known
            if not np.isnan(seen).all():
                self._deviation[index] = np.nanstd(seen)
            self._naive2[index] = Naive2.fit(known, season_length)
            observed = ~np.isnan(series[index])
            self._last_seen[index] = np.maximum.accumulate(
                np.where(observed, np.arange(len(observed)), -1)
            )

    def seasonal_error(self, series_b: IntArray) -> FloatArray:
        """[B] of the windows' series."""
        return self._seasonal_error[series_b]

    def deviation(self, series_b: IntArray) -> FloatArray:
        """[B] standard deviations of the training parts of the windows' series."""
        return self._deviation[series_b]

    def naive2(self, series_b: IntArray, origin_b: IntArray) -> FloatArray:
        """[B, H] forecasts of the windows."""
        forecast_bh = np.empty((len(series_b), self._horizon))
        for index in np.unique(series_b):
            rows = np.flatnonzero(series_b == index)
            last_at = self._last_seen[int(index)][origin_b[rows] - 1]
            forecast_bh[rows] = self._naive2[int(index)].forecast(
                self._series[index][last_at],
                last_at,
                origin_b[rows, None] + np.arange(self._horizon),
            )
        return forecast_bh


class Figures:
    """Sums that grow by batches of windows, and the figures they make.

    Args:
        intervals: whether quantiles are more than the mean, so that figures of them mean anything.
    """

    def __init__(self, yardsticks: Yardsticks, *, intervals: bool) -> None:
        self._yardsticks = yardsticks
        self._intervals = intervals
        self._sums: dict[str, Tally] = {}

    def add(
        self,
        series_b: IntArray,
        origin_b: IntArray,
        forecast: Forecast,
        seasonal_naive_bh: FloatArray,
        truth_bh: FloatArray,
    ) -> None:
        """Windows of the given series and origins; the forecast's quantiles are those of
        `QUANTILE_LEVELS`."""
        error_b = self._yardsticks.seasonal_error(series_b)
        deviation_b = self._yardsticks.deviation(series_b)
        naive2_bh = self._yardsticks.naive2(series_b, origin_b)
        quantiles_bhq = forecast.quantiles_bhq
        median_bh = quantiles_bhq[:, :, _MEDIAN]
        found = {
            "mase": mase(median_bh, truth_bh, error_b),
            "mase_seasonal_naive": mase(seasonal_naive_bh, truth_bh, error_b),
            "mase_naive2": mase(naive2_bh, truth_bh, error_b),
            "smape": smape(median_bh, truth_bh),
            "smape_naive2": smape(naive2_bh, truth_bh),
            "mse_standardised": mean_squared_error(forecast.mean_bh, truth_bh, deviation_b),
            "mae_standardised": mean_absolute_error(median_bh, truth_bh, deviation_b),
        }
        if self._intervals:
            lower_bh, upper_bh = quantiles_bhq[:, :, 0], quantiles_bhq[:, :, -1]
            found |= {
                "weighted_quantile_loss": weighted_quantile_loss(
                    quantiles_bhq, truth_bh, QUANTILE_LEVELS
                ),
                "msis": msis(lower_bh, upper_bh, truth_bh, error_b, covers=0.95),
                "coverage_95": coverage(lower_bh, upper_bh, truth_bh),
                "coverage_80": coverage(
                    quantiles_bhq[:, :, _LOWER_80], quantiles_bhq[:, :, _UPPER_80], truth_bh
                ),
            }
        for name, tally in found.items():
            self._sums[name] = self._sums.get(name, Tally()) + tally

    def result(self) -> dict[str, float]:
        """Those figures that have a value. `owa` is the overall weighted average of M4: the errors
        as shares of those of `rnn.forecasting.naive.Naive2`."""
        figures = {name: tally.mean for name, tally in self._sums.items()}
        naive_mase, naive_smape = figures.pop("mase_naive2"), figures.pop("smape_naive2")
        figures["owa"] = math.nan
        if naive_mase > 0 and naive_smape > 0:
            figures["owa"] = (figures["mase"] / naive_mase + figures["smape"] / naive_smape) / 2
        return finite(figures)
