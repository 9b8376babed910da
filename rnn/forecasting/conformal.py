"""Intervals that cover as often as they say, by what was seen in held-out windows."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn.config import QUANTILE_LEVELS
from rnn.errors import CheckpointError

FloatArray = NDArray[np.float64]

# So many errors have one beyond the outermost level on either side.
_FEWEST_ERRORS = math.ceil(1 / QUANTILE_LEVELS[0]) - 1


@dataclass(frozen=True)
class Conformal:
    """What is added to each quantile: conformalised quantile regression, each level by itself
    (Romano et al. 2019, theorem 2), in units of the window.

    Attributes:
        offsets_hq: [horizon, levels] for the levels of `QUANTILE_LEVELS`.
    """

    offsets_hq: FloatArray

    @classmethod
    def fit(cls, errors_nhq: FloatArray) -> "Conformal":
        """From held-out windows: the truth less each quantile in units of the window, NaN where it
        was not observed.

        A future timestep with few windows also takes the errors of the timesteps beside it.
        """
        horizon, levels = errors_nhq.shape[1:]
        observed = int((~np.isnan(errors_nhq[:, :, 0])).sum())
        reach = 0
        if observed < _FEWEST_ERRORS * horizon:
            reach = math.ceil((_FEWEST_ERRORS * horizon / max(1, observed) - 1) / 2)
        offsets_hq = np.zeros((horizon, levels))
        for timestep in range(horizon):
            near = errors_nhq[:, max(0, timestep - reach) : timestep + reach + 1].reshape(
                -1, levels
            )
            ordered_nq = np.sort(near[~np.isnan(near[:, 0])], axis=0)
            if len(ordered_nq):
                offsets_hq[timestep] = _order_statistics(ordered_nq)
        return cls(offsets_hq)

    @classmethod
    def around_points(cls, errors_nh: FloatArray) -> "Conformal":
        """Of forecasts that are their own medians, from the truth less the point: as far to either
        side as the errors are large (Lei et al. 2018, split conformal with absolute residuals). On
        which side the held-out windows happened to lie is not taken for what comes."""
        both_nh = np.concatenate([errors_nh, -errors_nh])
        offsets_hq = cls.fit(
            np.repeat(both_nh[:, :, None], len(QUANTILE_LEVELS), axis=2)
        ).offsets_hq
        return cls((offsets_hq - offsets_hq[:, ::-1]) / 2)

    def applied(
        self,
        quantiles_bhq: FloatArray,
        levels: Sequence[float],
        scale_b: FloatArray,
        lowest_value: float | None,
    ) -> FloatArray:
        """Quantiles of the given levels in the unit of the series, calibrated, rising with their
        level and none below the lowest value. Beyond the horizon of the fit the last timestep's
        offsets are taken."""
        offsets_hq = self._offsets(tuple(levels), quantiles_bhq.shape[1])
        moved_bhq = quantiles_bhq + scale_b[:, None, None] * offsets_hq
        if lowest_value is not None:
            moved_bhq = np.maximum(moved_bhq, lowest_value)
        place_q = np.argsort(np.argsort(levels, kind="stable"), kind="stable")
        rising_bhq: FloatArray = np.sort(moved_bhq, axis=2)[:, :, place_q]
        return rising_bhq

    @cached_property
    def _offsets(self) -> Callable[[tuple[float, ...], int], FloatArray]:
        """Of levels and horizon: the offsets [horizon, levels]. The same are asked for again."""
        return lru_cache(maxsize=16)(self._interpolated)

    def _interpolated(self, levels: tuple[float, ...], horizon: int) -> FloatArray:
        last = len(self.offsets_hq) - 1
        return np.stack(
            [
                np.interp(levels, QUANTILE_LEVELS, self.offsets_hq[min(timestep, last)])
                for timestep in range(horizon)
            ]
        )

    def to_values(self) -> dict[str, Any]:
        """As a model stores it."""
        return {"conformal": self.offsets_hq.tolist()}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "Conformal | None":
        """None: the model has no calibration.

        Raises:
            CheckpointError: the stored numbers are not a table of the levels.
        """
        if "conformal" not in values:
            return None
        offsets_hq = np.asarray(values["conformal"], dtype=np.float64)
        if offsets_hq.ndim != 2 or offsets_hq.shape[1] != len(QUANTILE_LEVELS):
            raise CheckpointError("the conformal offsets are not a table of the quantile levels")
        return cls(offsets_hq)


def _order_statistics(ordered_nq: FloatArray) -> FloatArray:
    """For each level the error that covers it: of n errors the one of rank level * (n + 1), rounded
    outwards. Where n errors are too few to tell, the level may move outwards only."""
    count = len(ordered_nq)
    ranks = [
        math.ceil(level * (count + 1)) if level >= 0.5 else math.floor(level * (count + 1))
        for level in QUANTILE_LEVELS
    ]
    rank_q = np.clip(ranks, 1, count) - 1
    statistics_q: FloatArray = ordered_nq[rank_q, np.arange(len(QUANTILE_LEVELS))]
    statistics_q = np.where(np.less(ranks, 1), np.minimum(statistics_q, 0), statistics_q)
    return np.where(np.greater(ranks, count), np.maximum(statistics_q, 0), statistics_q)
