"""Recurrent layers on top of each other, with what keeps deep ones trainable."""

import torch
from torch import Tensor, nn

from rnn.cells import CellState
from rnn.config import ArchitectureConfig
from rnn.determinism import Randomness
from rnn.dropout import Dropout
from rnn.layers import RecurrentLayer
from rnn.state import HiddenState


class RecurrentStack(nn.Module):
    """Layers with dropout between them, layer normalisation and residual connections as chosen."""

    def __init__(
        self,
        config: ArchitectureConfig,
        input_size: int,
        randomness: Randomness,
        *,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        self.residual = config.residual
        self.bidirectional = bidirectional
        self.layers = nn.ModuleList()
        self.norms = nn.ModuleList()
        size = input_size
        for _ in range(config.num_layers):
            layer = RecurrentLayer(
                config.cell, size, config.hidden_size, randomness, bidirectional=bidirectional
            )
            size = layer.output_size
            self.layers.append(layer)
            self.norms.append(nn.LayerNorm(size) if config.layer_norm else nn.Identity())
        self.output_size = size
        self.dropout = Dropout(config.dropout, randomness.dropout, locked=True)

    def recurrent_layers(self) -> list[RecurrentLayer]:
        """The layers, first to last."""
        return [layer for layer in self.layers if isinstance(layer, RecurrentLayer)]

    def forward(
        self,
        x_btd: Tensor,
        state: HiddenState | None = None,
        lengths_b: Tensor | None = None,
        *,
        state_wanted: bool = True,
    ) -> tuple[Tensor, HiddenState]:
        """Outputs of the last layer [B, T, H] and the forward states after each row's last
        timestep.

        Args:
            x_btd: [B, T, D], rows padded at the end.
            state: where a forward stack goes on from; a bidirectional one always starts at zeros.
            lengths_b: timesteps of each row, for ragged batches.
            state_wanted: False: the returned state of padded rows is meaningless, which saves time.
        """
        assert state is None or not self.bidirectional
        ends: list[CellState] = []
        for index, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            start = None if state is None else layer_state(state, index)
            y_bth, end = layer(x_btd, start, lengths_b, state_wanted=state_wanted)
            ends.append(end)
            y_bth = norm(y_bth)
            if index + 1 < len(self.layers):
                y_bth = self.dropout(y_bth)
            x_btd = x_btd + y_bth if self.residual and x_btd.shape == y_bth.shape else y_bth
        return x_btd, stacked_state(ends)


def layer_state(state: HiddenState, index: int) -> CellState:
    """One layer's part of a stack's state."""
    cell_bh = None if state.memory_lbm is None else state.memory_lbm[index]
    return CellState(state.hidden_lbh[index], cell_bh)


def stacked_state(states: list[CellState]) -> HiddenState:
    """The stack's state made of its layers' states."""
    cells = [state.memory_bm for state in states if state.memory_bm is not None]
    return HiddenState(
        torch.stack([state.hidden_bh for state in states]), torch.stack(cells) if cells else None
    )
