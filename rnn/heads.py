"""From the recurrent stack's outputs to answers: quantiles, label scores, next-token scores."""

import torch
from torch import Tensor, nn

from rnn.determinism import Randomness
from rnn.dropout import Dropout


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


class ClassificationHead(nn.Module):
    """Label scores from the last output, the largest and the mean over a text's own timesteps."""

    def __init__(
        self, input_size: int, labels: int, dropout: float, randomness: Randomness
    ) -> None:
        super().__init__()
        self.dropout = Dropout(dropout, randomness.dropout)
        self.out = linear(3 * input_size, labels, randomness)

    def forward(self, y_bth: Tensor, lengths_b: Tensor) -> Tensor:
        """[B, labels] from outputs [B, T, H] of rows with the given lengths."""
        position_t = torch.arange(y_bth.shape[1], device=y_bth.device)
        valid_bt1 = (position_t < lengths_b[:, None])[:, :, None]
        last_bh = y_bth[torch.arange(len(y_bth), device=y_bth.device), lengths_b - 1]
        largest_bh = y_bth.masked_fill(~valid_bt1, -torch.inf).amax(dim=1)
        mean_bh = y_bth.masked_fill(~valid_bt1, 0).sum(dim=1) / lengths_b[:, None]
        pooled = self.dropout(torch.cat([last_bh, largest_bh, mean_bh], dim=1))
        logits_bc: Tensor = self.out(pooled)
        return logits_bc


def linear(inputs: int, outputs: int, randomness: Randomness) -> nn.Linear:
    """A linear map with Xavier weights and no bias at the start."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight, generator=randomness.weights)
    nn.init.zeros_(layer.bias)
    return layer
