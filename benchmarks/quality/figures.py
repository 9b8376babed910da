"""Figures of forecasts as the benchmarks define them, in numpy, apart from what the product says.

Arrays are [series, horizon] (`_bh`). A scale is the mean absolute seasonal change of the series
that was known, [series].
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def mse(forecast_bh: Floats, truth_bh: Floats) -> float:
    """Mean squared error."""
    return float(np.mean((forecast_bh - truth_bh) ** 2))


def mae(forecast_bh: Floats, truth_bh: Floats) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(forecast_bh - truth_bh)))


def seasonal_scale(known: list[Floats], season: int) -> Floats:
    """What MASE and MSIS divide by, of each series (Hyndman and Koehler 2006)."""
    return np.array([np.mean(np.abs(values[season:] - values[:-season])) for values in known])


def mase(forecast_bh: Floats, truth_bh: Floats, scale_b: Floats) -> float:
    """Mean over the series of their absolute error in units of the scale."""
    return float(np.mean(np.mean(np.abs(forecast_bh - truth_bh), axis=1) / scale_b))


def smape(forecast_bh: Floats, truth_bh: Floats) -> float:
    """Symmetric mean absolute percentage error of the M4 competition, 0 to 200."""
    error_bh = np.abs(forecast_bh - truth_bh) / (np.abs(forecast_bh) + np.abs(truth_bh))
    return float(200 * np.mean(error_bh))


def owa(smape_: float, mase_: float, naive_smape: float, naive_mase: float) -> float:
    """Overall weighted average: the mean of both errors' ratios to those of Naive2 (M4)."""
    return (smape_ / naive_smape + mase_ / naive_mase) / 2


def msis(low_bh: Floats, high_bh: Floats, truth_bh: Floats, scale_b: Floats, miss: float) -> float:
    """Mean scaled interval score of intervals that may miss a share `miss` of the values
    (Gneiting and Raftery 2007, scaled as in M4)."""
    below_bh = np.maximum(low_bh - truth_bh, 0)
    above_bh = np.maximum(truth_bh - high_bh, 0)
    score_bh = high_bh - low_bh + 2 / miss * (below_bh + above_bh)
    return float(np.mean(np.mean(score_bh, axis=1) / scale_b))


def coverage(low_bh: Floats, high_bh: Floats, truth_bh: Floats) -> float:
    """Share of the values inside their interval."""
    return float(np.mean((low_bh <= truth_bh) & (truth_bh <= high_bh)))


def seasonal_naive(known: list[Floats], season: int, horizon: int) -> Floats:
    """The last season again and again [series, horizon]; with season 1 the last value."""
    ahead_h = np.arange(horizon) % season
    return np.stack([values[len(values) - season + ahead_h] for values in known])


def naive2(known: list[Floats], season: int, horizon: int) -> Floats:
    """M4's reference: the last value of the series without its season, which is multiplied back in;
    the season counts where autocorrelation shows one (Makridakis et al. 2020)."""
    return np.stack([_naive2(values, season, horizon) for values in known])


def _naive2(values_t: Floats, season: int, horizon: int) -> Floats:
    if not _is_seasonal(values_t, season):
        return np.full(horizon, values_t[-1])
    index_s = _seasonal_index(values_t, season)
    ahead_h = np.arange(len(values_t), len(values_t) + horizon) % season
    found: Floats = values_t[-1] / index_s[(len(values_t) - 1) % season] * index_s[ahead_h]
    return found


def _is_seasonal(values_t: Floats, season: int) -> bool:
    """Whether the autocorrelation at the season is outside its 90 % limits."""
    if len(values_t) < 3 * season:
        return False
    centred_t = values_t - values_t.mean()
    correlation_s = np.array(
        [np.sum(centred_t[lag:] * centred_t[:-lag]) for lag in range(1, season + 1)]
    ) / np.sum(centred_t**2)
    limit = 1.645 * np.sqrt((1 + 2 * np.sum(correlation_s[:-1] ** 2)) / len(values_t))
    return bool(abs(correlation_s[-1]) > limit)


def _seasonal_index(values_t: Floats, season: int) -> Floats:
    """Multiplicative factor of each place in the season, mean 1, by classical decomposition."""
    weights = np.ones(season) / season
    if season % 2 == 0:
        weights = np.concatenate([[0.5], np.ones(season - 1), [0.5]]) / season
    trend_t = np.convolve(values_t, weights, mode="valid")
    first = len(weights) // 2
    ratio_t = values_t[first : first + len(trend_t)] / trend_t
    place_t = np.arange(first, first + len(trend_t)) % season
    index_s = np.array([ratio_t[place_t == place].mean() for place in range(season)])
    found: Floats = index_s / index_s.mean()
    return found
