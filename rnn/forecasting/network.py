"""The forecasting network: a recurrent stack over a coded window, and a head for its future."""

import torch
from torch import Tensor, nn

from rnn.config import QUANTILE_LEVELS, ForecastingConfig
from rnn.determinism import Randomness
from rnn.forecasting.windows import INPUT_FEATURES, WindowShape
from rnn.linear import linear
from rnn.stack import RecurrentStack


class ForecastingNetwork(nn.Module):
    """Coded windows to corrections of the seasonal naive forecast, in units of the window."""

    def __init__(self, config: ForecastingConfig, randomness: Randomness) -> None:
        super().__init__()
        shape = WindowShape.of(config.data)
        self.stack = RecurrentStack(config.architecture, INPUT_FEATURES, randomness)
        self.head = ForecastHead(
            self.stack.output_size,
            shape.future_features,
            shape.horizon,
            1 + len(QUANTILE_LEVELS),
            randomness,
        )

    def forward(self, inputs_btd: Tensor, future_bhd: Tensor) -> Tensor:
        """[B, horizon, 1 + Q]: the mean, then the quantiles in the order of the levels."""
        y_bth, _ = self.stack(inputs_btd)
        corrections: Tensor = self.head(y_bth[:, -1], future_bhd)
        return corrections


class ForecastHead(nn.Module):
    """Corrections of the seasonal naive forecast for all future timesteps at once.

    One small network for every future timestep reads the stack's last output, the values at the
    same place of past seasons, and a learned vector of its distance.
    """

    def __init__(
        self,
        input_size: int,
        future_features: int,
        horizon: int,
        outputs: int,
        randomness: Randomness,
    ) -> None:
        super().__init__()
        width = input_size
        self.context = linear(input_size, width, randomness)
        self.future = linear(future_features, width, randomness)
        self.distance_hw = nn.Parameter(
            torch.empty(horizon, width).normal_(std=0.1, generator=randomness.weights)
        )
        self.mixed = linear(width, width, randomness)
        self.out = linear(width, outputs, randomness)
        # Starts at the seasonal naive forecast itself.
        nn.init.zeros_(self.out.weight)

    def forward(self, last_bh: Tensor, future_bhd: Tensor) -> Tensor:
        """[B, horizon, outputs] from the last output [B, H] and the future features."""
        mixed_bhw = self.context(last_bh)[:, None, :] + self.future(future_bhd) + self.distance_hw
        mixed_bhw = nn.functional.gelu(mixed_bhw)
        mixed_bhw = mixed_bhw + nn.functional.gelu(self.mixed(mixed_bhw))
        scores: Tensor = self.out(mixed_bhw)
        return scores
