"""A trained forecaster as a function of series.

It runs without gradients and keeps no state of its own, so one thread may call it for many callers.
Inputs are checked here; the network itself trusts them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnn.config import QUANTILE_LEVELS, ForecastingConfig
from rnn.errors import InputMismatchError
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.windows import CodedWindows, WindowShape, code_windows, trailing_history
from rnn.runner import make_runner

FloatArray = NDArray[np.float64]

_ROWS_PER_BATCH = 64


@dataclass(frozen=True)
class ForecastResult:
    """Forecasts in the unit of the series: `mean_bt` [B, horizon], `quantiles_bqt` [B, Q, horizon]
    in the order of the levels asked for."""

    mean_bt: FloatArray
    quantiles_bqt: FloatArray


class Forecaster:
    """Forecasts of series that need not have been seen in training."""

    quantile_levels: tuple[float, ...] = QUANTILE_LEVELS

    def __init__(self, config: ForecastingConfig, network: ForecastingNetwork) -> None:
        self.config = config
        self._head = network.eval().head
        self._runner = make_runner(network.stack)
        self._shape = WindowShape.of(config.data)
        self._device = next(network.parameters()).device

    @torch.inference_mode()
    def forecast(
        self, series: Sequence[FloatArray], horizon: int, quantiles: Sequence[float]
    ) -> ForecastResult:
        """The next `horizon` values after the end of each series.

        Args:
            series: float64 [T] each, in order of time; NaN is a missing value.
            horizon: at most the trained one.
            quantiles: levels between the lowest and the highest trained one, interpolated.

        Raises:
            InputMismatchError: a horizon or level that was not trained, or a series without any
                observed value.
        """
        if not 1 <= horizon <= self._shape.horizon:
            raise InputMismatchError(
                f"horizon {horizon} is not between 1 and the model's {self._shape.horizon}"
            )
        lowest, highest = self.quantile_levels[0], self.quantile_levels[-1]
        for level in quantiles:
            if not lowest <= level <= highest:
                raise InputMismatchError(
                    f"quantile {level} is not between the model's {lowest} and {highest}"
                )
        for index, values in enumerate(series):
            if np.isnan(values).all():
                raise InputMismatchError(f"series {index} has no observed value")
        means: list[FloatArray] = [np.empty((0, horizon))]
        levels: list[FloatArray] = [np.empty((0, len(quantiles), horizon))]
        for start in range(0, len(series), _ROWS_PER_BATCH):
            rows = series[start : start + _ROWS_PER_BATCH]
            mean_bh, quantiles_bhq = self._run(trailing_history(rows, self._shape.history_length))
            means.append(mean_bh[:, :horizon])
            levels.append(interpolated(quantiles_bhq[:, :horizon], self.quantile_levels, quantiles))
        return ForecastResult(np.concatenate(means), np.concatenate(levels))

    def _run(self, history_bt: FloatArray) -> tuple[FloatArray, FloatArray]:
        coded = code_windows(history_bt, self._shape)
        y_bth, _ = self._runner.sequences(torch.from_numpy(coded.inputs_btd), state_wanted=False)
        future_bhd = torch.from_numpy(coded.future_bhd).to(self._device)
        return decoded(self._head(y_bth[:, -1], future_bhd), coded)


def decoded(outputs_bhq: Tensor, coded: CodedWindows) -> tuple[FloatArray, FloatArray]:
    """The network's corrections as mean [B, horizon] and rising quantiles [B, horizon, Q] in the
    unit of the series."""
    corrections_bhq = outputs_bhq.cpu().numpy().astype(np.float64)
    values_bhq = coded.base_bh[:, :, None] + coded.scale.scale_b[:, None, None] * corrections_bhq
    # Sorting crossed quantiles never makes their loss larger (Chernozhukov et al. 2010).
    return values_bhq[:, :, 0], np.sort(values_bhq[:, :, 1:], axis=2)


def interpolated(
    quantiles_bhq: FloatArray, trained: Sequence[float], wanted: Sequence[float]
) -> FloatArray:
    """[B, wanted, horizon] quantiles, linear between the trained levels."""
    place_q = np.interp(wanted, trained, np.arange(len(trained)))
    below_q = np.minimum(place_q.astype(np.int64), len(trained) - 2)
    share_q = place_q - below_q
    lower, upper = quantiles_bhq[:, :, below_q], quantiles_bhq[:, :, below_q + 1]
    mixed: FloatArray = lower + share_q * (upper - lower)
    return mixed.transpose(0, 2, 1)
