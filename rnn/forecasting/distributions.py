"""What a forecaster says of each future timestep: its numbers as a loss, a mean and quantiles."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnn.config import QUANTILE_LEVELS
from rnn.config.forecasting import DistributionName
from rnn.forecasting.losses import forecast_loss, point_loss
from rnn.forecasting.negative_binomial import NegativeBinomial
from rnn.forecasting.student_t import StudentT
from rnn.forecasting.targets import Targets, Units

FloatArray = NDArray[np.float64]


class Distribution(Protocol):
    """How the numbers that a network gives for each future timestep are meant.

    Attributes:
        lowest_value: none below is possible; None: all are.
    """

    lowest_value: float | None

    def loss(self, outputs_bho: Tensor, targets: Targets) -> Tensor:
        """What training minimises, a mean over the observed targets."""
        ...

    def mean(self, outputs_bho: FloatArray, units: Units) -> FloatArray:
        """[B, H] in the unit of the series."""
        ...

    def quantiles(self, outputs_bho: FloatArray, units: Units, levels_bq: FloatArray) -> FloatArray:
        """[B, H, Q] in the unit of the series.

        Args:
            levels_bq: [B, Q], or [1, Q] for all rows alike.
        """
        ...


class Quantiles:
    """The mean, then the quantiles of fixed levels; those of others lie linearly between."""

    lowest_value: float | None = None

    def loss(self, outputs_bho: Tensor, targets: Targets) -> Tensor:
        levels_q = torch.tensor(QUANTILE_LEVELS, device=outputs_bho.device)
        return forecast_loss(outputs_bho, targets.residual_bh, targets.mask_bh, levels_q)

    def mean(self, outputs_bho: FloatArray, units: Units) -> FloatArray:
        return units.values(outputs_bho)[:, :, 0]

    def quantiles(self, outputs_bho: FloatArray, units: Units, levels_bq: FloatArray) -> FloatArray:
        # Sorting crossed quantiles never makes their loss larger (Chernozhukov et al. 2010).
        rising_bhq = np.sort(units.values(outputs_bho)[:, :, 1:], axis=2)
        return interpolated(rising_bhq, levels_bq)


class Point:
    """One number, the median. Quantiles are known from held-out windows alone (`conformal`), so
    here they are all that number."""

    lowest_value: float | None = None

    def loss(self, outputs_bho: Tensor, targets: Targets) -> Tensor:
        return point_loss(outputs_bho[:, :, 0], targets.residual_bh, targets.mask_bh)

    def mean(self, outputs_bho: FloatArray, units: Units) -> FloatArray:
        return units.values(outputs_bho)[:, :, 0]

    def quantiles(self, outputs_bho: FloatArray, units: Units, levels_bq: FloatArray) -> FloatArray:
        return np.repeat(units.values(outputs_bho), levels_bq.shape[1], axis=2)


DISTRIBUTIONS: dict[DistributionName, Distribution] = {
    "quantile": Quantiles(),
    "student_t": StudentT(),
    "negative_binomial": NegativeBinomial(),
    "point": Point(),
}


def interpolated(quantiles_bhn: FloatArray, levels_bq: FloatArray) -> FloatArray:
    """[B, H, Q] quantiles, linear between those of `QUANTILE_LEVELS`."""
    place_bq = np.interp(levels_bq, QUANTILE_LEVELS, np.arange(len(QUANTILE_LEVELS)))
    below_bq = np.minimum(place_bq.astype(np.int64), len(QUANTILE_LEVELS) - 2)
    share_b1q = (place_bq - below_bq)[:, None, :]
    if len(levels_bq) == 1:
        lower_bhq = quantiles_bhn[:, :, below_bq[0]]
        upper_bhq = quantiles_bhn[:, :, below_bq[0] + 1]
    else:
        lower_bhq = np.take_along_axis(quantiles_bhn, below_bq[:, None, :], axis=2)
        upper_bhq = np.take_along_axis(quantiles_bhn, below_bq[:, None, :] + 1, axis=2)
    mixed_bhq: FloatArray = lower_bhq + share_b1q * (upper_bhq - lower_bhq)
    return mixed_bhq
