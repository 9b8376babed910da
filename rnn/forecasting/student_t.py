"""Student-t forecasts: a location, a size and how heavy the tails are, for each timestep."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rnn.forecasting.losses import masked_mean
from rnn.forecasting.targets import Targets, Units

FloatArray = NDArray[np.float64]

_LEAST_SIZE = 1e-3  # of a window: truth that equals the forecast would have no bound to its density
_LEAST_DEGREES = 2.0  # below, there is no variance
_TABLE_ROWS = 257


class StudentT:
    """Location, size and degrees of freedom (as for real values in Salinas et al. 2020), in units
    of the window. The mean is the location."""

    lowest_value: float | None = None

    def loss(self, outputs_bho: Tensor, targets: Targets) -> Tensor:
        """Mean negative log-likelihood of the observed targets, in units of the window."""
        location_bh = outputs_bho[:, :, 0]
        size_bh = functional.softplus(outputs_bho[:, :, 1]) + _LEAST_SIZE
        degrees_bh = functional.softplus(outputs_bho[:, :, 2]) + _LEAST_DEGREES
        distribution = torch.distributions.StudentT(
            degrees_bh, location_bh, size_bh, validate_args=False
        )
        log_likelihood_bh: Tensor = distribution.log_prob(targets.residual_bh)  # type: ignore[no-untyped-call]
        return masked_mean(-log_likelihood_bh, targets.mask_bh)

    def mean(self, outputs_bho: FloatArray, units: Units) -> FloatArray:
        return units.values(outputs_bho[:, :, :1])[:, :, 0]

    def quantiles(self, outputs_bho: FloatArray, units: Units, levels_bq: FloatArray) -> FloatArray:
        size_bh = np.logaddexp(0, outputs_bho[:, :, 1]) + _LEAST_SIZE
        degrees_bh = np.logaddexp(0, outputs_bho[:, :, 2]) + _LEAST_DEGREES
        unique, column_bq = np.unique(levels_bq, return_inverse=True)
        standard_bhq = _standard_quantiles(
            degrees_bh, unique, column_bq.reshape(levels_bq.shape)[:, None, :]
        )
        return units.values(outputs_bho[:, :, :1] + size_bh[:, :, None] * standard_bhq)


def _standard_quantiles(
    degrees_bh: FloatArray, levels: FloatArray, column_b1q: NDArray[np.int64]
) -> FloatArray:
    """[B, H, Q] quantiles at location 0 and size 1, linear between the rows of a table: they are
    smooth in the inverse of the degrees."""
    table_rq = _table(tuple(levels.tolist()))
    place_bh = (_TABLE_ROWS - 1) * _LEAST_DEGREES / degrees_bh
    row_bh = np.minimum(place_bh.astype(np.int64), _TABLE_ROWS - 2)
    share_bh1 = (place_bh - row_bh)[:, :, None]
    below_bhq = table_rq[row_bh[:, :, None], column_b1q]
    above_bhq = table_rq[row_bh[:, :, None] + 1, column_b1q]
    standard_bhq: FloatArray = below_bhq + share_bh1 * (above_bhq - below_bhq)
    return standard_bhq


@lru_cache(maxsize=64)
def _table(levels: tuple[float, ...]) -> FloatArray:
    """[rows, levels] quantiles for inverse degrees of freedom from almost 0 to a half.

    With t = sqrt(degrees) tan(angle) the density is a power of the cosine, which Gauss and
    Legendre's rule integrates almost exactly; bisection inverts the integral.
    """
    inverse_r = np.linspace(0, 1 / _LEAST_DEGREES, _TABLE_ROWS)
    degrees_r1 = 1 / np.maximum(inverse_r, 1e-8)[:, None]
    node_n, weight_n = np.polynomial.legendre.leggauss(64)
    share_n = (node_n + 1) / 2
    size_r1 = np.exp(
        _log_gamma((degrees_r1 + 1) / 2) - _log_gamma(degrees_r1 / 2) - np.log(np.pi) / 2
    )
    mass_q = np.abs(np.asarray(levels) - 0.5)
    low_rq = np.zeros((_TABLE_ROWS, len(levels)))
    # No angle beyond holds a quantile of the levels that are served.
    high_rq = np.broadcast_to(np.arctan(50 / np.sqrt(degrees_r1)), low_rq.shape).copy()
    for _ in range(50):
        middle_rq = (low_rq + high_rq) / 2
        cosine_rqn = np.cos(middle_rq[:, :, None] * share_n)
        density_rqn = np.exp((degrees_r1[:, :, None] - 1) * np.log(cosine_rqn))
        found_rq = size_r1 * middle_rq * (density_rqn @ weight_n) / 2
        short_rq = found_rq < mass_q
        low_rq = np.where(short_rq, middle_rq, low_rq)
        high_rq = np.where(short_rq, high_rq, middle_rq)
    quantile_rq = np.sqrt(degrees_r1) * np.tan((low_rq + high_rq) / 2)
    signed_rq: FloatArray = np.sign(np.asarray(levels) - 0.5) * quantile_rq
    return signed_rq


def _log_gamma(values: FloatArray) -> FloatArray:
    log_gamma: FloatArray = torch.lgamma(torch.from_numpy(values)).numpy()
    return log_gamma
