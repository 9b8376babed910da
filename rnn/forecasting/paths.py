"""Sample paths: joint draws of all timesteps of a forecast.

At each timestep they have the quantiles that are answered; which path has which of them tells how
timesteps depend on each other (ensemble copula coupling with quantiles, Schefzik et al. 2013).
Recursive decoding draws that order; of what states every timestep by itself it comes from a
Gaussian copula.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rnn.config import QUANTILE_LEVELS
from rnn.errors import CheckpointError
from rnn.forecasting.coding import CodedWindows
from rnn.forecasting.decoding import PATHS, Decoder

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SHARES = tuple(((np.arange(PATHS) + 0.5) / PATHS).tolist())
"""Levels of the quantiles that paths take: each stands for an equal share of probability."""

_AUTOCORRELATIONS = np.linspace(-0.99, 0.99, 199)


@dataclass(frozen=True)
class Dependence:
    """A Gaussian copula over the timesteps of a forecast (as Pinson et al. 2009 join predicted
    quantiles to scenarios). Of its normal scores a part is that of all timesteps, as a level that
    was missed stays missed, and the rest is a first-order autoregression.

    Attributes:
        shared: variance of what all timesteps have in common, from 0 to 1.
        autocorrelation: of the rest at neighbouring timesteps, between -1 and 1.
    """

    shared: float
    autocorrelation: float

    @classmethod
    def fit(cls, scores_nh: FloatArray) -> "Dependence":
        """From the `normal_scores` of held-out windows.

        Least squares of the correlations at all distances, by how many pairs there are of each.
        Scores are compared with 0, which is the median, and not with the mean of all: forecasts
        that keep to one side of the truth depend on each other.
        """
        observed_nh = ~np.isnan(scores_nh)
        pairs_k = np.round(_products(observed_nh.astype(np.float64)))
        found_k = _products(np.where(observed_nh, scores_nh, 0)) / np.maximum(pairs_k, 1)
        if not pairs_k[1:].any() or found_k[0] == 0:  # no pairs, or all forecasts were right
            return cls(0.0, 0.0)
        found_k, pairs_k = found_k[1:] / found_k[0], pairs_k[1:]
        kept_rk = _AUTOCORRELATIONS[:, None] ** np.arange(1, len(found_k) + 1)
        shared_r = (pairs_k * (found_k - kept_rk) * (1 - kept_rk)).sum(axis=1)
        shared_r = np.clip(shared_r / (pairs_k * (1 - kept_rk) ** 2).sum(axis=1), 0, 1)
        modelled_rk = shared_r[:, None] + (1 - shared_r[:, None]) * kept_rk
        best = int((pairs_k * (found_k - modelled_rk) ** 2).sum(axis=1).argmin())
        return cls(float(shared_r[best]), float(_AUTOCORRELATIONS[best]))

    def scores(self, noise_bhp: FloatArray) -> FloatArray:
        """[B, H, P] normal scores that depend on each other, from independent ones [B, 1 + H, P]:
        those of all timesteps, then those of each."""
        rest_bhp = noise_bhp[:, 1:].copy()
        fresh = math.sqrt(1 - self.autocorrelation**2)
        for timestep in range(1, rest_bhp.shape[1]):
            rest_bhp[:, timestep] *= fresh
            rest_bhp[:, timestep] += self.autocorrelation * rest_bhp[:, timestep - 1]
        return math.sqrt(self.shared) * noise_bhp[:, :1] + math.sqrt(1 - self.shared) * rest_bhp

    def to_values(self) -> dict[str, Any]:
        """As a model stores it."""
        return {"dependence": asdict(self)}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "Dependence | None":
        """None: the model does not know it.

        Raises:
            CheckpointError: the stored numbers are not such a copula.
        """
        if "dependence" not in values:
            return None
        match values["dependence"]:
            case {"shared": float(shared), "autocorrelation": float(autocorrelation)} if (
                0 <= shared <= 1 and -1 < autocorrelation < 1
            ):
                return cls(shared, autocorrelation)
        raise CheckpointError("the dependence of timesteps is not that of a copula")


def normal_scores(errors_nhq: FloatArray) -> FloatArray:
    """[N, H]: where the truth of held-out windows is in their forecasts, NaN where it was not
    observed. It counts as in the middle between the quantiles beside it.

    Args:
        errors_nhq: the truth less each quantile of `QUANTILE_LEVELS` as it is answered.
    """
    edges = np.array([0, *QUANTILE_LEVELS, 1])
    # Quantiles of counts may equal the truth: it has passed some, and reached these too.
    passed_nh, reached_nh = (errors_nhq > 0).sum(axis=2), (errors_nhq >= 0).sum(axis=2)
    level_nh = torch.from_numpy((edges[passed_nh] + edges[reached_nh + 1]) / 2)
    return np.where(np.isnan(errors_nhq[:, :, 0]), np.nan, torch.special.ndtri(level_nh).numpy())


def _products(values_nh: FloatArray) -> FloatArray:
    """[H]: for each distance the sum of all products of values so far apart (Wiener and
    Khinchin)."""
    horizon = values_nh.shape[1]
    power_f = (np.abs(np.fft.rfft(values_nh, 2 * horizon, axis=1)) ** 2).sum(axis=0)
    products_h: FloatArray = np.fft.irfft(power_f, 2 * horizon)[:horizon]
    return products_h


def sample_paths(
    decoder: Decoder,
    dependence: Dependence | None,
    coded: CodedWindows,
    quantiles_bhp: FloatArray,
    num_samples: int,
    seeds: Sequence[int],
) -> FloatArray:
    """[B, num_samples, H], in the unit of the series.

    They are drawn `PATHS` at a time, which take each quantile once at each timestep (Latin
    hypercube sampling): any path by itself has the distribution of the forecast, and fewer paths
    are the first of more.

    Args:
        dependence: of what the decoder does not draw itself.
        quantiles_bhp: of `SHARES`, as they are answered.
        seeds: of each row, not negative.
    """
    batch, horizon, _ = quantiles_bhp.shape
    assert len(seeds) == batch
    blocks = []
    for block in range(-(-num_samples // PATHS)):
        randoms = [np.random.default_rng([seed, block]) for seed in seeds]
        if decoder.draws_paths:
            place_bhp = _drawn_order(decoder, coded, randoms)
        else:
            assert dependence is not None
            noise_bhp = np.stack([each.standard_normal((1 + horizon, PATHS)) for each in randoms])
            place_bhp = np.argsort(dependence.scores(noise_bhp), axis=2)
        rank_bhp = np.argsort(place_bhp, axis=2)
        blocks.append(np.take_along_axis(quantiles_bhp, rank_bhp, axis=2))
    return np.concatenate(blocks, axis=2)[:, :, :num_samples].transpose(0, 2, 1)


def _drawn_order(
    decoder: Decoder, coded: CodedWindows, randoms: Sequence[np.random.Generator]
) -> IntArray:
    """[B, H, PATHS]: at each timestep the paths that recursive decoding draws, lowest first. Equal
    values are in the order of the levels that they were drawn at."""
    shares_hp = np.tile(np.arange(PATHS), (coded.future_bhd.shape[1], 1))
    share_bhp = np.stack([each.permuted(shares_hp, axis=1) for each in randoms])
    values_bhp = decoder.paths(coded, (share_bhp + 0.5) / PATHS)
    order_bhp: IntArray = np.lexsort((share_bhp, values_bhp), axis=2)
    return order_bhp
