"""Forecasting as training work: sampled windows, the last horizon of each series held out."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnn.config import QUANTILE_LEVELS, ForecastingConfig
from rnn.data.examples import SeriesExamples
from rnn.data.splits import drawn_batches
from rnn.determinism import Randomness
from rnn.errors import DataTooSmallError
from rnn.forecasting.losses import forecast_loss
from rnn.forecasting.metrics import finite, mase, seasonal_error, smape, weighted_quantile_loss
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.predictor import decoded
from rnn.forecasting.windows import (
    CodedWindows,
    WindowSampler,
    WindowShape,
    code_windows,
    trailing_history,
)
from rnn.work import BatchLoss, ModelParts

FloatArray = NDArray[np.float64]

_EVALUATION_ROWS = 512
_MEDIAN = QUANTILE_LEVELS.index(0.5)


class ForecastingWork:
    """Series with the network that learns to correct their seasonal naive forecast."""

    criterion = "loss"

    def __init__(
        self,
        config: ForecastingConfig,
        examples: SeriesExamples,
        device: torch.device,
        randomness: Randomness,
    ) -> None:
        self.network = ForecastingNetwork(config, randomness).to(device)
        self._config = config
        self._device = device
        self._shape = shape = WindowShape.of(config.data)
        self._levels_q = torch.tensor(QUANTILE_LEVELS, device=device)
        self._sampler = WindowSampler(examples.values, shape)
        if not len(self._sampler):
            raise DataTooSmallError(
                f"no series has {2 * shape.horizon + 1} timesteps with values: one to read, a "
                f"horizon of {shape.horizon} to learn from and another to hold out"
            )
        assert config.training.windows_per_epoch is not None, "resolved before"
        self._windows_per_epoch = config.training.windows_per_epoch
        self.steps_per_epoch = -(-self._windows_per_epoch // config.training.batch_size)
        self._batches: tuple[int, list[NDArray[np.int64]]] = (-1, [])
        self._hold_out(examples.values)

    def _hold_out(self, series: list[FloatArray]) -> None:
        horizon = self._shape.horizon
        held = [
            values
            for values in series
            if len(values) > horizon
            and not np.isnan(values[-horizon:]).all()
            and not np.isnan(values[:-horizon]).all()
        ]
        if not held:
            raise DataTooSmallError(f"no series has values in its last {horizon} timesteps")
        known = [values[:-horizon] for values in held]
        self._truth_bh = np.stack([values[-horizon:] for values in held])
        self._coded = code_windows(trailing_history(known, self._shape.history_length), self._shape)
        self._seasonal_error_b = np.array(
            [seasonal_error(values, self._shape.season_length) for values in known]
        )

    def batch_loss(self, epoch: int, index: int) -> BatchLoss:
        training = self._config.training
        if self._batches[0] != epoch:
            self._batches = (
                epoch,
                drawn_batches(
                    len(self._sampler),
                    self._windows_per_epoch,
                    training.batch_size,
                    seed=training.seed,
                    epoch=epoch,
                ),
            )
        history_bt, future_bh = self._sampler.draw(self._batches[1][index])
        coded = code_windows(history_bt, self._shape)
        target_bh, mask_bh = self._targets(coded, future_bh)
        outputs_bhq = self.network(
            torch.from_numpy(coded.inputs_btd).to(self._device),
            torch.from_numpy(coded.future_bhd).to(self._device),
        )
        loss = forecast_loss(outputs_bhq.float(), target_bh, mask_bh, self._levels_q)
        return BatchLoss(loss, coded.inputs_btd.shape[0] * coded.inputs_btd.shape[1])

    def _targets(self, coded: CodedWindows, truth_bh: FloatArray) -> tuple[Tensor, Tensor]:
        """Corrections of the base in units of the window, and where they are observed."""
        mask_bh = ~np.isnan(truth_bh)
        residual_bh = (truth_bh - coded.base_bh) / coded.scale.scale_b[:, None]
        target_bh = np.where(mask_bh, residual_bh, 0).astype(np.float32)
        return (
            torch.from_numpy(target_bh).to(self._device),
            torch.from_numpy(mask_bh).to(self._device),
        )

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        self.network.eval()
        coded = self._coded
        outputs = []
        for start in range(0, len(coded.inputs_btd), _EVALUATION_ROWS):
            rows = slice(start, start + _EVALUATION_ROWS)
            outputs.append(
                self.network(
                    torch.from_numpy(coded.inputs_btd[rows]).to(self._device),
                    torch.from_numpy(coded.future_bhd[rows]).to(self._device),
                )
            )
        outputs_bhq = torch.cat(outputs)
        target_bh, mask_bh = self._targets(coded, self._truth_bh)
        _, quantiles_bhq = decoded(outputs_bhq, coded)
        median_bh = quantiles_bhq[:, :, _MEDIAN]
        truth_bh = self._truth_bh
        return {
            "loss": float(forecast_loss(outputs_bhq, target_bh, mask_bh, self._levels_q)),
            **finite(
                {
                    "mase": mase(median_bh, truth_bh, self._seasonal_error_b),
                    "mase_seasonal_naive": mase(coded.base_bh, truth_bh, self._seasonal_error_b),
                    "smape": smape(median_bh, truth_bh),
                    "weighted_quantile_loss": weighted_quantile_loss(
                        quantiles_bhq, truth_bh, QUANTILE_LEVELS
                    ),
                }
            ),
        }

    def test(self) -> dict[str, float]:
        return {}

    def carried_state(self) -> dict[str, Tensor]:
        return {}

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None:
        pass

    def model_parts(self) -> ModelParts:
        return ModelParts()
