"""The forecasting network: a recurrent stack over a coded window, and a head for its future."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnn.config import ForecastingConfig
from rnn.convolution import ConvolutionFront
from rnn.determinism import Randomness
from rnn.forecasting.heads import DirectHead, RecursiveHead, SegmentHead
from rnn.forecasting.sizes import OUTPUTS, segment_length, stack_inputs
from rnn.forecasting.windows import VALUE_FEATURES, WindowShape
from rnn.linear import linear
from rnn.probe import Probe
from rnn.stack import RecurrentStack


class ForecastingNetwork(nn.Module):
    """Coded windows to corrections of their base, in units of the window."""

    def __init__(self, config: ForecastingConfig, randomness: Randomness) -> None:
        super().__init__()
        shape, architecture = WindowShape.of(config.data), config.architecture
        outputs = OUTPUTS[architecture.distribution]
        reads = shape.input_features
        self.segment: SegmentEmbedding | None = None
        if architecture.decoding == "segments":
            width = architecture.hidden_size
            self.segment = SegmentEmbedding(segment_length(config), reads, width, randomness)
            reads = width
        self.convolution: ConvolutionFront | None = None
        if architecture.convolution is not None:
            self.convolution = ConvolutionFront(architecture.convolution, reads, randomness)
        self.stack = RecurrentStack(architecture, stack_inputs(config), randomness)
        size = self.stack.output_size
        self.head: DirectHead | SegmentHead | RecursiveHead
        match architecture.decoding:
            case "direct":
                self.head = DirectHead(
                    size, shape.future_features, shape.horizon, outputs, randomness
                )
            case "segments":
                self.head = SegmentHead(
                    stack_inputs(config),
                    size,
                    shape.future_features,
                    shape.horizon,
                    segment_length(config),
                    outputs,
                    shape.context_length if architecture.linear else 0,
                    randomness,
                )
            case "recursive":
                self.head = RecursiveHead(architecture, shape.future_features, outputs, randomness)

    def forward(
        self,
        inputs_btd: Tensor,
        future_bhd: Tensor,
        truth_bh2: Tensor | None = None,
        *,
        probe: Probe | None = None,
    ) -> Tensor:
        """[B, horizon, outputs]: the numbers of the distribution for each future timestep.

        Args:
            truth_bh2: [B, horizon, 2], what follows in units of the window and whether it was
                observed. Recursive decoding reads it in training, each value before the next
                timestep; the others do not look at it.
            probe: is shown the stack that reads the context.
        """
        y_bth, state = self.stack(self.stack_reads(inputs_btd), probe=probe)
        head = self.head
        if isinstance(head, DirectHead):
            return head.forward(y_bth[:, -1], future_bhd)
        if isinstance(head, SegmentHead):
            context_outputs = self.stack.outputs
            y_b1h, _ = self.stack(
                head.tokens(future_bhd)[:, None],
                state.select(torch.arange(len(inputs_btd)).repeat_interleave(head.segments)),
            )
            self.stack.outputs = context_outputs  # penalties are for sequences, these are single
            return head.forward(y_b1h[:, 0], inputs_btd)
        assert truth_bh2 is not None
        previous_bh2 = torch.cat([inputs_btd[:, -1:, :VALUE_FEATURES], truth_bh2[:, :-1]], dim=1)
        y_bhh, _ = head.stack(torch.cat([previous_bh2, future_bhd], dim=2), state)
        numbers: Tensor = head.out(y_bhh)
        return numbers

    @property
    def reads_first(self) -> bool:
        """Whether something stands before the stack."""
        return self.segment is not None or self.convolution is not None

    def stack_reads(self, inputs_btd: Tensor) -> Tensor:
        """What the stack reads of coded windows."""
        if self.segment is not None:
            inputs_btd = self.segment(inputs_btd)
        if self.convolution is not None:
            inputs_btd, _ = self.convolution(inputs_btd)
        return inputs_btd

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """What is before the recurrent layers, each of them, the head."""
        before = [
            parameter
            for module in (self.segment, self.convolution)
            if module is not None
            for parameter in module.parameters()
        ]
        groups = [before, *self.stack.layer_groups(), list(self.head.parameters())]
        return [group for group in groups if group]


class SegmentEmbedding(nn.Module):
    """Segments of the context as one vector each; the first is filled up with zeros."""

    def __init__(
        self, segment_length: int, input_size: int, width: int, randomness: Randomness
    ) -> None:
        super().__init__()
        self.segment_length = segment_length
        self.embedding = linear(segment_length * input_size, width, randomness)

    def forward(self, inputs_btd: Tensor) -> Tensor:
        """[B, segments, width]."""
        batch, timesteps, _ = inputs_btd.shape
        segments = -(-timesteps // self.segment_length)
        missing = segments * self.segment_length - timesteps
        padded_btd = functional.pad(inputs_btd, (0, 0, missing, 0))
        tokens_bsd = functional.relu(self.embedding(padded_btd.reshape(batch, segments, -1)))
        return tokens_bsd.to(inputs_btd.dtype)  # autocast rounds products alone
