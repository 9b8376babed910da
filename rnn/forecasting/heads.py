"""From what a recurrent stack has read of a window to the numbers of its future timesteps."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnn.config import ArchitectureConfig
from rnn.determinism import Randomness
from rnn.forecasting.windows import VALUE_FEATURES
from rnn.linear import linear
from rnn.rows import TOGETHER, Rows
from rnn.stack import RecurrentStack


class DirectHead(nn.Module):
    """Corrections of the base for all future timesteps at once.

    One small network for every future timestep reads the stack's last output, what is known of the
    timestep (the values at the same place of past seasons among it), and a learned vector of its
    distance.
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
        # Starts at the base itself.
        nn.init.zeros_(self.out.weight)

    def forward(self, last_bh: Tensor, future_bhd: Tensor, rows: Rows = TOGETHER) -> Tensor:
        """[B, horizon, outputs] from the last output [B, H] and the future features."""
        context_bw = rows.linear(self.context, last_bh)
        mixed_bhw = context_bw[:, None, :] + rows.linear(self.future, future_bhd) + self.distance_hw
        mixed_bhw = rows.gelu(mixed_bhw)
        mixed_bhw = mixed_bhw + rows.gelu(rows.linear(self.mixed, mixed_bhw))
        return rows.linear(self.out, mixed_bhw)


class SegmentHead(nn.Module):
    """The future in segments, all decoded at once from the state after the last one that was read
    (Lin et al. 2023, "SegRNN").

    The stack that read the segments of the context takes one step from that state for each future
    segment. Its input is a learned vector of the segment's place, and what is known of the
    segment's timesteps.

    Args:
        linear_context: timesteps of the context whose values also reach the numbers by a linear
            map (as in Zeng et al. 2023), which the recurrent layers then only correct; 0: none.
    """

    def __init__(
        self,
        token_size: int,
        input_size: int,
        future_features: int,
        horizon: int,
        segment_length: int,
        outputs: int,
        linear_context: int,
        randomness: Randomness,
    ) -> None:
        super().__init__()
        self.horizon = horizon
        self.segment_length = segment_length
        self.segments = -(-horizon // segment_length)
        self.place_ns = nn.Parameter(
            torch.empty(self.segments, token_size).normal_(std=0.5, generator=randomness.weights)
        )
        self.future = linear(segment_length * future_features, token_size, randomness)
        self.out = linear(input_size, segment_length * outputs, randomness)
        nn.init.zeros_(self.out.weight)
        self.linear: nn.Linear | None = None
        if linear_context:
            self.linear = nn.Linear(linear_context, horizon * outputs, bias=False)
            nn.init.zeros_(self.linear.weight)

    def tokens(self, future_bhd: Tensor, rows: Rows = TOGETHER) -> Tensor:
        """[B * segments, token size]: what the stack reads for each future segment."""
        missing = self.segments * self.segment_length - self.horizon
        padded_bhd = functional.pad(future_bhd, (0, 0, 0, missing))
        known_bnd = padded_bhd.reshape(len(future_bhd), self.segments, -1)
        return (rows.linear(self.future, known_bnd) + self.place_ns).flatten(0, 1)

    def forward(self, segments_nh: Tensor, inputs_btd: Tensor, rows: Rows = TOGETHER) -> Tensor:
        """[B, horizon, outputs] from the stack's outputs, [B * segments, H] or
        [B, segments, H], and the coded context, whose first feature is the value."""
        batch = len(inputs_btd)
        scores = rows.linear(self.out, segments_nh)
        scores = scores.reshape(batch, self.segments * self.segment_length, -1)[:, : self.horizon]
        if self.linear is not None:
            scores = scores + rows.linear(self.linear, inputs_btd[:, :, 0]).reshape(scores.shape)
        return scores


class RecursiveHead(nn.Module):
    """One future timestep after the other: a second stack goes on from the state of the one that
    read the context, and reads the value before each timestep and what is known of it."""

    def __init__(
        self,
        config: ArchitectureConfig,
        future_features: int,
        outputs: int,
        randomness: Randomness,
    ) -> None:
        super().__init__()
        self.stack = RecurrentStack(config, VALUE_FEATURES + future_features, randomness)
        self.out = linear(self.stack.output_size, outputs, randomness)
        nn.init.zeros_(self.out.weight)
