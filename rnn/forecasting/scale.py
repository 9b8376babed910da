"""Brings each window of a series to a common size, so that one network serves any unit."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnn.config.forecasting import ScalingName

FloatArray = NDArray[np.float64]

# Rounding alone leaves about 1e-16 of the level; far above that is signal.
LEAST_RELATIVE_SCALE = 1e-12
LEAST_SCALE = 1e-100


@dataclass(frozen=True)
class WindowScale:
    """Location and size of each window, both [B]. float64: a float32 would lose the small changes
    of a large level."""

    location_b: FloatArray
    scale_b: FloatArray

    def transform(self, values_bt: FloatArray) -> FloatArray:
        return (values_bt - self.location_b[:, None]) / self.scale_b[:, None]


def fit_window_scale(
    values_bt: FloatArray, scaling: ScalingName = "mean", deviation_b: FloatArray | None = None
) -> WindowScale:
    """Location and size of each row's observed values (NaN: not observed).

    `mean`: their mean and mean absolute deviation. `last`: the last of them and the deviation of
    the series (where it has none, theirs): how much a window moves is then something to learn from.
    `robust`: median and interquartile range. A row without any deviation is scaled by its level,
    and a row of zeros or without any value by 1.

    Args:
        deviation_b: standard deviation of each row's series up to the row's end, for `last`.
    """
    observed_bt = ~np.isnan(values_bt)
    count_b = np.maximum(observed_bt.sum(axis=1), 1)
    filled_bt = np.where(observed_bt, values_bt, 0.0)
    location_b = filled_bt.sum(axis=1) / count_b
    deviation_bt = np.where(observed_bt, np.abs(filled_bt - location_b[:, None]), 0.0)
    scale_b = deviation_bt.sum(axis=1) / count_b
    if scaling == "last":
        location_b = np.nan_to_num(last_observed(values_bt))
        if deviation_b is not None:
            moves_b = deviation_b > LEAST_RELATIVE_SCALE * np.abs(location_b)
            scale_b = np.where(moves_b, deviation_b, scale_b)
    elif scaling == "robust":
        low_b, location_b, high_b = _quartiles(values_bt, observed_bt)
        # Where more than half of the values are one value, the range says nothing of the others.
        wide_b = high_b - low_b > LEAST_RELATIVE_SCALE * np.abs(location_b)
        scale_b = np.where(wide_b, high_b - low_b, scale_b)
    level_b = np.abs(location_b)
    scale_b = np.where(scale_b > LEAST_RELATIVE_SCALE * level_b, scale_b, level_b)
    return WindowScale(location_b, np.where(scale_b > LEAST_SCALE, scale_b, 1.0))


def deviation_so_far(values: FloatArray) -> FloatArray:
    """[T + 1] standard deviation of the observed values before each timestep of a series, and of
    all; 0 before the second."""
    observed = ~np.isnan(values)
    if not observed.any():
        return np.zeros(len(values) + 1)
    # Distances from a value of the series lose nothing to its level; their squares must not
    # overflow.
    distance = np.where(observed, values - values[observed.argmax()], 0.0)
    unit = _unit(float(np.abs(distance).max()))
    distance /= unit
    count = np.maximum(_running_sum(observed), 1)
    mean = _running_sum(distance) / count
    variance = np.maximum(_running_sum(distance**2) / count - mean**2, 0)
    deviation: FloatArray = unit * np.sqrt(variance)
    return deviation


@dataclass(frozen=True)
class RunningDeviation:
    """`deviation_so_far` of a series that comes in pieces: the same number, to the last bit.

    Attributes:
        count: of observed values.
        origin: the first of them; NaN before it.
        largest: distance of one from it.
        total, squares: sums of distances and of their squares, in the unit of the largest.
    """

    count: int = 0
    origin: float = math.nan
    largest: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    def extended(self, values: FloatArray) -> "RunningDeviation":
        """With further values [T] of the series; NaN: not observed."""
        observed = values[~np.isnan(values)]
        if not len(observed):
            return self
        origin = self.origin if self.count else float(observed[0])
        distance = observed - origin
        largest = max(self.largest, float(np.abs(distance).max()))
        unit = _unit(largest)
        distance /= unit
        shrunk = _unit(self.largest) / unit if self.largest else 1.0
        return RunningDeviation(
            self.count + len(observed),
            origin,
            largest,
            float(np.cumsum([self.total * shrunk, *distance])[-1]),
            float(np.cumsum([self.squares * shrunk * shrunk, *distance**2])[-1]),
        )

    @property
    def deviation(self) -> float:
        count = max(self.count, 1)
        mean = self.total / count
        return _unit(self.largest) * math.sqrt(max(self.squares / count - mean * mean, 0.0))


def _unit(largest: float) -> float:
    """The power of two just below: to divide by it rounds nothing, so that sums in one unit are
    those in another."""
    return math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest else 1.0


def _running_sum(values: NDArray[np.float64] | NDArray[np.bool_]) -> FloatArray:
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


def _quartiles(
    values_bt: FloatArray, observed_bt: NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of each row's observed values, linear between neighbours; 0 for a row without any."""
    ordered_bt = np.sort(values_bt, axis=1)  # NaN goes last
    last_b = np.maximum(observed_bt.sum(axis=1) - 1, 0)
    rows = np.arange(len(values_bt))
    found = []
    for share in (0.25, 0.5, 0.75):
        place_b = share * last_b
        below_b = place_b.astype(np.int64)
        above_b = np.minimum(below_b + 1, last_b)
        lower_b, upper_b = ordered_bt[rows, below_b], ordered_bt[rows, above_b]
        found.append(np.nan_to_num(lower_b + (place_b - below_b) * (upper_b - lower_b)))
    return found[0], found[1], found[2]


def last_observed(values_bt: FloatArray) -> FloatArray:
    """The last value of each row that is not NaN; NaN for a row without any."""
    from_end_b = (~np.isnan(values_bt[:, ::-1])).argmax(axis=1)
    last_b: FloatArray = values_bt[np.arange(len(values_bt)), values_bt.shape[1] - 1 - from_end_b]
    return last_b
