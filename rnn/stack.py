"""Recurrent layers on top of each other, with what keeps deep ones trainable."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rnn.cells import CellState
from rnn.config import ArchitectureConfig
from rnn.determinism import Randomness
from rnn.dropout import Dropout
from rnn.layers import RecurrentLayer
from rnn.probe import Probe
from rnn.state import HiddenState


@dataclass(frozen=True)
class StackOutputs:
    """What left a stack in its last training forward, for penalties on it.

    Attributes:
        dropped_bth: [B, T, H] after the dropout of outputs.
        raw_bth: [B, T, H] before it.
        lengths_b: timesteps of each row; None: all T. Outputs on padding are meaningless.
    """

    dropped_bth: Tensor
    raw_bth: Tensor
    lengths_b: Tensor | None


class RecurrentStack(nn.Module):
    """Layers with dropout, layer normalisation and connections past layers as chosen.

    - residual: what a layer reads is added to its output, wherever the widths are equal.
    - dense: each layer reads the stack's inputs and the outputs of all layers before it, side by
      side (Huang et al. 2017, "Densely Connected Convolutional Networks").
    - pre_norm: what a layer reads is normalised first, and so is what leaves the stack; residual
      connections pass the norms by (Xiong et al. 2020).
    - layer_norm: a layer's output is normalised, before dropout and residual connection.
    - output_layers "sum": the sum of all layers' outputs leaves the stack, not the last one's.
    - dropout: one mask for all timesteps of a row, of the inputs, between layers and of what leaves
      the stack (Gal and Ghahramani 2016).

    Args:
        output_dropout: None: the configuration's.

    Attributes:
        output_size: width of what leaves the stack.
        memory_size: of each layer's memory; 0: the cell has none.
        native: whether the kernels compute this stack; the others are torch's.
        keeps_outputs: whether `outputs` is set by each training forward.
        outputs: of the last training forward, while they are kept.
    """

    def __init__(
        self,
        config: ArchitectureConfig,
        input_size: int,
        randomness: Randomness,
        *,
        bidirectional: bool = False,
        output_dropout: float | None = None,
    ) -> None:
        super().__init__()
        self.residual = config.residual
        self.dense = config.dense
        self.sums_layers = config.output_layers == "sum"
        self.bidirectional = bidirectional
        self.hidden_size = config.hidden_size
        self.layers = nn.ModuleList()
        self.input_norms = nn.ModuleList()
        self.norms = nn.ModuleList()
        size = input_size
        for _ in range(config.num_layers):
            layer = RecurrentLayer(config, size, randomness, bidirectional=bidirectional)
            self.layers.append(layer)
            self.input_norms.append(_norm(size, wanted=config.pre_norm))
            self.norms.append(_norm(layer.output_size, wanted=config.layer_norm))
            size = size + layer.output_size if config.dense else layer.output_size
        self.output_size = layer.output_size
        self.memory_size = layer.memory_size
        self.output_norm = _norm(self.output_size, wanted=config.pre_norm)
        plain = not (config.dense or config.pre_norm or self.sums_layers)
        self.native = plain and layer.native
        if output_dropout is None:
            output_dropout = config.output_dropout
        self.input_dropout, self.dropout, self.output_dropout = (
            Dropout(rate, randomness.dropout, locked=config.locked_dropout)
            for rate in (config.input_dropout, config.dropout, output_dropout)
        )
        self.keeps_outputs = False
        self.outputs: StackOutputs | None = None

    def recurrent_layers(self) -> list[RecurrentLayer]:
        """The layers, first to last."""
        return [layer for layer in self.layers if isinstance(layer, RecurrentLayer)]

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """The parameters of each layer with its norms, first to last; the norm of what leaves the
        stack goes with the last."""
        groups = [
            [parameter for module in modules for parameter in module.parameters()]
            for modules in zip(self.layers, self.input_norms, self.norms, strict=True)
        ]
        groups[-1] += self.output_norm.parameters()
        return groups

    def initial_state(
        self,
        batch_size: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> HiddenState:
        """The state before anything was read.

        Args:
            device: None: the stack's.
            dtype: None: the stack's.
        """
        parameter = next(self.parameters())
        device, dtype = device or parameter.device, dtype or parameter.dtype
        shape = (len(self.layers), batch_size)
        hidden_lbh = torch.zeros(*shape, self.hidden_size, device=device, dtype=dtype)
        if not self.memory_size:
            return HiddenState(hidden_lbh)
        memory_lbm = torch.zeros(*shape, self.memory_size, device=device, dtype=dtype)
        return HiddenState(hidden_lbh, memory_lbm)

    def forward(
        self,
        x_btd: Tensor,
        state: HiddenState | None = None,
        lengths_b: Tensor | None = None,
        *,
        state_wanted: bool = True,
        probe: Probe | None = None,
    ) -> tuple[Tensor, HiddenState]:
        """What leaves the stack [B, T, H] and the forward states after each row's last timestep.

        Args:
            x_btd: [B, T, D], rows padded at the end.
            state: where a forward stack goes on from; a bidirectional one always starts at zeros.
            lengths_b: timesteps of each row, for ragged batches.
            state_wanted: False: the returned state of padded rows is meaningless, which saves time.
            probe: is shown the forward states at its lags, of rows of equal length and without
                dropout; the answers stay the same.
        """
        assert state is None or not self.bidirectional
        assert probe is None or (lengths_b is None and not self.training)
        layers = self.recurrent_layers()
        ends: list[CellState] = []

        def run(index: int, x_btd: Tensor) -> Tensor:
            start = None if state is None else layer_state(state, index)
            y_bth: Tensor
            if probe is None:
                y_bth, end = layers[index](x_btd, start, lengths_b, state_wanted=state_wanted)
            else:
                y_bth, end = _in_pieces(layers[index], index, x_btd, start, probe)
            ends.append(end)
            return y_bth

        raw_bth = self.connect(self.input_dropout(x_btd), run)
        dropped_bth = self.output_dropout(raw_bth)
        kept = self.keeps_outputs and self.training
        self.outputs = StackOutputs(dropped_bth, raw_bth, lengths_b) if kept else None
        return dropped_bth, stacked_state(ends)

    def connect(self, x: Tensor, run: Callable[[int, Tensor], Tensor]) -> Tensor:
        """What leaves the stack [..., H] before its dropout, from its inputs [..., D].

        Args:
            run: from a layer's place and what it reads to its output [..., H].
        """
        outputs: list[Tensor] = []
        for index, (input_norm, norm) in enumerate(zip(self.input_norms, self.norms, strict=True)):
            y = norm(run(index, input_norm(x)))
            if index + 1 < len(self.layers):
                y = self.dropout(y)
            if self.residual and x.shape == y.shape:
                y = x + y
            outputs.append(y)
            x = torch.cat([x, y], dim=-1) if self.dense else y
        result = torch.stack(outputs).sum(0) if self.sums_layers else outputs[-1]
        normed: Tensor = self.output_norm(result)
        return normed


def layer_state(state: HiddenState, index: int) -> CellState:
    """One layer's part of a stack's state."""
    memory_bm = None if state.memory_lbm is None else state.memory_lbm[index]
    return CellState(state.hidden_lbh[index], memory_bm)


def stacked_state(states: list[CellState]) -> HiddenState:
    """The stack's state made of its layers' states."""
    memories = [state.memory_bm for state in states if state.memory_bm is not None]
    return HiddenState(
        torch.stack([state.hidden_bh for state in states]),
        torch.stack(memories) if memories else None,
    )


def _norm(size: int, *, wanted: bool) -> nn.Module:
    return nn.LayerNorm(size) if wanted else nn.Identity()


def _in_pieces(
    layer: RecurrentLayer, index: int, x_btd: Tensor, start: CellState | None, probe: Probe
) -> tuple[Tensor, CellState]:
    """A layer's outputs and end, read in pieces that the forward state is handed between, so that
    the probe stands on every way from a state to what comes after it."""
    state, forwards = start, []
    for begin, stop, lag in probe.pieces(x_btd.shape[1]):
        y_bth, state = layer(x_btd[:, begin:stop], state)
        y_bth = y_bth[:, :, : state.hidden_bh.shape[1]]
        if lag is not None:
            state, y_bth = probe.record(index, lag, state, y_bth)
        forwards.append(y_bth)
    assert state is not None
    y_bth = torch.cat(forwards, dim=1)
    probe.read(index, x_btd, start, y_bth)
    if layer.backwards is not None:  # that direction reads all timesteps after its own
        both_bth, _ = layer(x_btd, start)
        y_bth = torch.cat([y_bth, both_bth[:, :, y_bth.shape[2] :]], dim=2)
    return y_bth, state
