"""Finds the length of a season in series whose frequency is not known."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LONGEST_SEASON = 400
MAX_SERIES = 64  # enough to see it, spread over all
MAX_POINTS = 8_192  # the newest of each
SHORTEST = 8
CLEAR = 0.3  # correlation at which a season is taken for real
NEAR_BEST = 0.75  # a shorter season that is nearly as clear is the season; the rest repeat it


def find_season(series: Sequence[Floats]) -> int | None:
    """The lag at which series resemble themselves most, averaged over series; None: at none.

    Linear trends are taken out first. Only peaks of the autocorrelation count.
    """
    step = max(1, len(series) // MAX_SERIES)
    correlations = [
        found
        for values in series[::step][:MAX_SERIES]
        if (found := _autocorrelation(values[-MAX_POINTS:])) is not None
    ]
    if not correlations:
        return None
    longest = max(len(each) for each in correlations)
    total, count = np.zeros(longest), np.zeros(longest)
    for each in correlations:
        total[: len(each)] += each
        count[: len(each)] += 1
    mean = total / count
    # A lag that few series are long enough for says little.
    mean = mean[: int(np.flatnonzero(count >= len(correlations) / 2)[-1]) + 1]
    inner = mean[1:-1]
    peaks = np.flatnonzero((inner > mean[:-2]) & (inner >= mean[2:])) + 1
    peaks = peaks[(peaks >= 2) & (mean[peaks] >= CLEAR)]
    if not len(peaks):
        return None
    best = mean[peaks].max()
    return int(peaks[mean[peaks] >= NEAR_BEST * best][0])


def _autocorrelation(values: Floats) -> Floats | None:
    """Correlation at lags 0 to a third of the length; None where there is nothing to see."""
    observed = np.isfinite(values)
    if len(values) < SHORTEST or observed.mean() < 0.5:
        return None
    time = np.arange(len(values), dtype=np.float64)
    filled = np.interp(time, time[observed], values[observed])
    largest = np.abs(filled).max()
    if largest == 0:
        return None
    filled = filled / largest  # so that no square overflows
    time -= time.mean()
    centred = filled - filled.mean()
    centred -= time * (time @ centred) / (time @ time)
    energy = float(centred @ centred)
    if energy <= 1e-12 * len(values):
        return None
    spectrum = np.fft.rfft(centred, 2 * len(centred))
    lags = min(len(centred) // 3, LONGEST_SEASON) + 2
    products = np.fft.irfft(spectrum * spectrum.conj())[:lags]
    pairs = len(centred) - np.arange(lags)
    return np.asarray(products / pairs * len(centred) / energy, dtype=np.float64)
