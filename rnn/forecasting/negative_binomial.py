"""Negative binomial forecasts: counts, with a mean and how much more than Poisson they spread."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rnn.forecasting.losses import masked_mean
from rnn.forecasting.targets import Targets, Units

FloatArray = NDArray[np.float64]

_LEAST_SHARE = 0.05  # of the window's level: where the base is 0, the mean still starts above it
_LEAST_MEAN = 1e-6
_LEAST_DISPERSION = 1e-4
_GRID = 192
_DEVIATIONS = 14  # further out than any quantile that is served


class NegativeBinomial:
    """Mean and dispersion of counts (Salinas et al. 2020): the variance is mean + dispersion *
    mean^2. The network's numbers are brought to the size of the counts by the level of each
    window, 1 + its location; the mean starts at the base."""

    lowest_value: float | None = 0.0

    def loss(self, outputs_bho: Tensor, targets: Targets) -> Tensor:
        """Mean negative log-likelihood of the observed counts."""
        # float64: logarithms of gamma functions of large counts differ in digits beyond float32.
        numbers_bho, count_bh = outputs_bho.double(), targets.value_bh.double()
        level_b1 = 1 + targets.location_b.double().clamp(min=0)[:, None]
        start_bh = _inverse_softplus((targets.base_bh.double() / level_b1).clamp(min=_LEAST_SHARE))
        mean_bh = level_b1 * functional.softplus(start_bh + numbers_bho[:, :, 0]) + _LEAST_MEAN
        dispersion_bh = functional.softplus(numbers_bho[:, :, 1]) / level_b1.sqrt()
        inverse_bh = 1 / (dispersion_bh + _LEAST_DISPERSION)
        log_likelihood_bh = (
            torch.lgamma(count_bh + inverse_bh)
            - torch.lgamma(inverse_bh)
            - torch.lgamma(count_bh + 1)
            - inverse_bh * torch.log1p(mean_bh / inverse_bh)
            - count_bh * torch.log1p(inverse_bh / mean_bh)
        )
        return masked_mean(-log_likelihood_bh, targets.mask_bh).to(outputs_bho.dtype)

    def mean(self, outputs_bho: FloatArray, units: Units) -> FloatArray:
        return self._parameters(outputs_bho, units)[0]

    def quantiles(self, outputs_bho: FloatArray, units: Units, levels_bq: FloatArray) -> FloatArray:
        """The smallest counts that are reached with the probability of each level. Counts that
        spread over more values than a grid has are interpolated on it."""
        mean_bh, inverse_bh = self._parameters(outputs_bho, units)
        count_bhg, reached_bhg = _cumulative(mean_bh, inverse_bh)
        levels_bq = np.broadcast_to(levels_bq, (len(mean_bh), levels_bq.shape[1]))
        found = []
        for level_b in levels_bq.T:
            above_bh1 = (reached_bhg < level_b[:, None, None]).sum(axis=2)[:, :, None]
            above_bh1 = np.minimum(above_bh1, _GRID - 1)
            below_bh1 = np.maximum(above_bh1 - 1, 0)
            low_bh, high_bh, reached_low_bh, reached_high_bh = (
                np.take_along_axis(values_bhg, place_bh1, axis=2)[:, :, 0]
                for values_bhg in (count_bhg, reached_bhg)
                for place_bh1 in (below_bh1, above_bh1)
            )
            rise_bh = np.maximum(reached_high_bh - reached_low_bh, 1e-300)
            share_bh = np.clip((level_b[:, None] - reached_low_bh) / rise_bh, 0, 1)
            between_bh = np.ceil(low_bh + share_bh * (high_bh - low_bh))
            found.append(np.where(above_bh1[:, :, 0] == 0, high_bh, between_bh))
        return np.stack(found, axis=2)

    def _parameters(self, outputs_bho: FloatArray, units: Units) -> tuple[FloatArray, FloatArray]:
        """Mean and inverse dispersion, as in the loss."""
        level_b1 = 1 + np.maximum(units.scale.location_b, 0)[:, None]
        share_bh = torch.from_numpy(np.maximum(units.base_bh / level_b1, _LEAST_SHARE))
        start_bh = _inverse_softplus(share_bh).numpy()
        mean_bh = level_b1 * np.logaddexp(0, start_bh + outputs_bho[:, :, 0]) + _LEAST_MEAN
        dispersion_bh = np.logaddexp(0, outputs_bho[:, :, 1]) / np.sqrt(level_b1)
        return mean_bh, 1 / (dispersion_bh + _LEAST_DISPERSION)


def _inverse_softplus(values: Tensor) -> Tensor:
    return values + torch.log(-torch.expm1(-values))


def _cumulative(mean_bh: FloatArray, inverse_bh: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Counts [B, H, G] and the probability of each or fewer.

    Every count from 0 on as long as the grid reaches; else they grow ever further apart, and the
    probabilities between two of them are summed by Euler and Maclaurin's rule, which is exact for
    neighbours.
    """
    deviation_bh = np.sqrt(mean_bh + mean_bh**2 / inverse_bh)
    furthest_bh1 = np.ceil(mean_bh + _DEVIATIONS * deviation_bh)[:, :, None]
    grid_g = np.arange(_GRID, dtype=np.float64)
    count_bhg = np.maximum(grid_g, np.round(furthest_bh1 * (grid_g / (_GRID - 1)) ** 2))
    count, inverse = torch.from_numpy(count_bhg), torch.from_numpy(inverse_bh)[:, :, None]
    mean = torch.from_numpy(mean_bh)[:, :, None]
    density_bhg = torch.exp(
        torch.lgamma(count + inverse)
        - torch.lgamma(inverse)
        - torch.lgamma(count + 1)
        - inverse * torch.log1p(mean / inverse)
        - count * torch.log1p(inverse / mean)
    ).numpy()
    gap_bhg = np.diff(count_bhg, axis=2)
    left_bhg, right_bhg = density_bhg[:, :, :-1], density_bhg[:, :, 1:]
    block_bhg = gap_bhg * (left_bhg + right_bhg) / 2 + (right_bhg - left_bhg) / 2
    reached_bhg = np.cumsum(np.concatenate([density_bhg[:, :, :1], block_bhg], axis=2), axis=2)
    return count_bhg, reached_bhg
