"""A trained forecaster as a function of series.

It runs without gradients and keeps no state of its own, so one thread may call it for many callers.
Inputs are checked here; the network itself trusts them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnn.config import QUANTILE_LEVELS, ForecastingConfig
from rnn.errors import InputMismatchError
from rnn.forecasting.coding import CodedWindows, code_windows
from rnn.forecasting.conformal import Conformal
from rnn.forecasting.covariates import SeriesCovariates, check_covariates, join_covariates
from rnn.forecasting.decoding import Decoder, Marginals
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.paths import SHARES, Dependence, sample_paths
from rnn.forecasting.reach import check_reach
from rnn.forecasting.shrinkage import NO_SHRINKAGE, Shrinkage
from rnn.forecasting.windows import SeriesWindows, WindowBatch, WindowShape
from rnn.kernels.library import Precision
from rnn.state import HiddenState

FloatArray = NDArray[np.float64]

_ROWS_PER_BATCH = 64


@dataclass(frozen=True)
class ForecastResult:
    """Forecasts in the unit of the series: `mean_bt` [B, horizon], `quantiles_bqt` [B, Q, horizon]
    in the order of the levels asked for, and where they were asked for, sample paths `samples_bst`
    [B, S, horizon]."""

    mean_bt: FloatArray
    quantiles_bqt: FloatArray
    samples_bst: FloatArray | None = None


class Forecaster:
    """Forecasts of series that need not have been seen in training.

    Args:
        conformal: what is added to the quantiles, if anything.
        shrinkage: how far forecasts are drawn back to their base, before that.
        precision: what its stacks are computed in, where there are kernels for it.
        dependence: of timesteps on each other, where decoding does not draw it.

    Attributes:
        quantile_levels: the levels that figures were computed for.
    """

    quantile_levels: tuple[float, ...] = QUANTILE_LEVELS

    def __init__(
        self,
        config: ForecastingConfig,
        network: ForecastingNetwork,
        conformal: Conformal | None = None,
        shrinkage: Shrinkage = NO_SHRINKAGE,
        precision: Precision = "float32",
        dependence: Dependence | None = None,
    ) -> None:
        self.config = config
        self._decoder = Decoder(config, network.eval(), fast=True, precision=precision)
        self._conformal = conformal
        self._shrinkage = shrinkage
        self._dependence = dependence
        self._shape = WindowShape.of(config.data)

    @property
    def precision(self) -> Precision:
        """What its stacks are computed in."""
        return self._decoder.precision

    @property
    def has_paths(self) -> bool:
        """Whether it can be asked for sample paths."""
        return self._decoder.draws_paths or self._dependence is not None

    def check_paths(self) -> None:
        """Raises InputMismatchError where there are no sample paths."""
        if not self.has_paths:
            raise InputMismatchError(
                "this version does not know how its timesteps depend on each other, so it has no "
                "sample paths: train it again",
                ("num_samples",),
            )

    @torch.inference_mode()
    def forecast(
        self,
        series: Sequence[FloatArray],
        horizon: int,
        quantiles: Sequence[float],
        covariates: Sequence[SeriesCovariates] | None = None,
        *,
        num_samples: int = 0,
        seeds: Sequence[int] = (),
    ) -> ForecastResult:
        """The next `horizon` values after the end of each series.

        Args:
            series: float64 [T] each, in order of time; NaN is a missing value.
            horizon, quantiles: as far as the model reaches (`rnn.forecasting.reach`).
            covariates: what is known beside each series; None: nothing is.
            num_samples: sample paths of each series (`rnn.forecasting.paths`).
            seeds: of the paths of each series, not negative.

        Raises:
            InputMismatchError: a horizon or level that was not trained, a series without any
                observed value, covariates that are not those the model reads, or paths that it
                cannot draw.
        """
        check_reach(self.config, horizon, quantiles)
        if num_samples:
            self.check_paths()
        for index, values in enumerate(series):
            if np.isnan(values).all():
                raise InputMismatchError(f"series {index} has no observed value")
        known = [SeriesCovariates()] * len(series) if covariates is None else covariates
        check_covariates(series, known, self.config.data, horizon)
        means: list[FloatArray] = [np.empty((0, horizon))]
        levels: list[FloatArray] = [np.empty((0, len(quantiles), horizon))]
        samples: list[FloatArray] = [np.empty((0, num_samples, horizon))]
        for start in range(0, len(series), _ROWS_PER_BATCH):
            rows = slice(start, start + _ROWS_PER_BATCH)
            examples = join_covariates(series[rows], known[rows], self.config.data)
            windows = SeriesWindows(examples, self.shape(horizon)).ends()
            result = self.forecast_windows(windows, horizon, quantiles, num_samples, seeds[rows])
            means.append(result.mean_bt)
            levels.append(result.quantiles_bqt)
            if result.samples_bst is not None:
                samples.append(result.samples_bst)
        return ForecastResult(
            np.concatenate(means),
            np.concatenate(levels),
            np.concatenate(samples) if num_samples else None,
        )

    def shape(self, horizon: int) -> WindowShape:
        """What windows hold for a forecast that goes so far."""
        recursive = self.config.architecture.decoding == "recursive"
        return replace(self._shape, horizon=horizon) if recursive else self._shape

    @torch.inference_mode()
    def outputs(self, coded: CodedWindows, truth_bh2: Tensor) -> Tensor:
        """The numbers of the distribution [B, horizon, outputs], of windows coded for the trained
        horizon. `truth_bh2` is read by recursive decoding, as in training."""
        return self._decoder.outputs(coded, truth_bh2)

    @torch.inference_mode()
    def forecast_windows(
        self,
        windows: WindowBatch,
        horizon: int,
        quantiles: Sequence[float],
        num_samples: int = 0,
        seeds: Sequence[int] = (),
    ) -> ForecastResult:
        """Likewise, of windows in the shape for the horizon, all checked before."""
        coded = code_windows(windows, self.shape(horizon))
        marginals = self._decoder.marginals(coded)
        mean_bh, quantiles_bhq = self._answered(marginals, coded, quantiles)
        samples_bst = None
        if num_samples:
            shares_bhp = self._answered(marginals, coded, SHARES)[1][:, :horizon]
            samples_bst = sample_paths(
                self._decoder, self._dependence, coded, shares_bhp, num_samples, seeds
            )
        return ForecastResult(
            mean_bh[:, :horizon], quantiles_bhq[:, :horizon].transpose(0, 2, 1), samples_bst
        )

    def _answered(
        self, marginals: Marginals, coded: CodedWindows, levels: Sequence[float]
    ) -> tuple[FloatArray, FloatArray]:
        """Mean [B, H] and quantiles [B, H, Q], drawn back and calibrated."""
        found = self._shrinkage.applied(marginals(levels), coded.base_bh)
        if self._conformal is None:
            return found.mean_bh, found.quantiles_bhq
        return found.mean_bh, self._conformal.applied(
            found.quantiles_bhq, levels, coded.scale.scale_b, self._decoder.lowest_value
        )

    def initial_state(self) -> HiddenState:
        """The state of the stack that reads the context of one window before it has read any."""
        return self._decoder.initial_state()

    @torch.inference_mode()
    def hidden(self, windows: WindowBatch) -> HiddenState:
        """Its state after the context of windows in the shape for one timestep."""
        return self._decoder.hidden(code_windows(windows, self.shape(1)))
