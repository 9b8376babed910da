"""Brings each window of a series to a common size, so that one network serves any unit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class WindowScale:
    """Location and size of each window, both [B]. float64: a float32 would lose the small changes
    of a large level."""

    location_b: FloatArray
    scale_b: FloatArray

    def transform(self, values_bt: FloatArray) -> FloatArray:
        return (values_bt - self.location_b[:, None]) / self.scale_b[:, None]


def fit_window_scale(values_bt: FloatArray) -> WindowScale:
    """Mean and mean absolute deviation of each row's observed values (NaN: not observed).

    A constant row is scaled by its level, and a row of zeros or without any value by 1.
    """
    observed_bt = ~np.isnan(values_bt)
    count_b = np.maximum(observed_bt.sum(axis=1), 1)
    filled_bt = np.where(observed_bt, values_bt, 0.0)
    location_b = filled_bt.sum(axis=1) / count_b
    deviation_bt = np.where(observed_bt, np.abs(filled_bt - location_b[:, None]), 0.0)
    scale_b = deviation_bt.sum(axis=1) / count_b
    level_b = np.abs(location_b)
    # Rounding alone leaves about 1e-16 of the level; far above that is signal.
    scale_b = np.where(scale_b > 1e-12 * level_b, scale_b, level_b)
    return WindowScale(location_b, np.where(scale_b > 1e-100, scale_b, 1.0))
