"""The recurrences that `rnn.kernels` has as their equations, one step at a time: the reference for
every faster path. Those that it has not are in `rnn.recurrences`.

Weights have torch's layout, gates stacked along the first dimension: LSTM in, forget, cell, out;
GRU reset, update, new; minGRU update, candidate; minLSTM forget, in, candidate. `input_weight_gd`
is [G*H, D], `recurrent_weight_gh` [G*H, H]; the minimal cells have no recurrent part: None.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from rnn.config import CellName


class CellWeights(NamedTuple):
    input_weight_gd: Tensor
    recurrent_weight_gh: Tensor | None
    input_bias_g: Tensor
    recurrent_bias_g: Tensor | None

    def detach(self) -> "CellWeights":
        """The same numbers, with no gradient flowing back through them."""
        return CellWeights(
            self.input_weight_gd.detach(),
            None if self.recurrent_weight_gh is None else self.recurrent_weight_gh.detach(),
            self.input_bias_g.detach(),
            None if self.recurrent_bias_g is None else self.recurrent_bias_g.detach(),
        )


class CellState(NamedTuple):
    """State of B rows.

    Attributes:
        hidden_bh: [B, H] output of the last timestep.
        memory_bm: [B, M] what the cell keeps besides; None where it keeps nothing.
    """

    hidden_bh: Tensor
    memory_bm: Tensor | None = None


class GateSums(NamedTuple):
    """What the input and the hidden state [.., G*H] add to the gates before their activation."""

    input_bg: Tensor
    recurrent_bg: Tensor | None

    @property
    def total_bg(self) -> Tensor:
        return self.input_bg if self.recurrent_bg is None else self.input_bg + self.recurrent_bg

    def chunk(self, gates: int) -> tuple["GateSums", ...]:
        """The sums gate by gate."""
        input_parts = self.input_bg.chunk(gates, dim=-1)
        if self.recurrent_bg is None:
            return tuple(GateSums(part, None) for part in input_parts)
        recurrent_parts = self.recurrent_bg.chunk(gates, dim=-1)
        return tuple(map(GateSums, input_parts, recurrent_parts))


def lstm_cell(sums: GateSums, state: CellState) -> CellState:
    """Long short-term memory with a forget gate (Gers, Schmidhuber and Cummins 2000)."""
    assert state.memory_bm is not None
    in_preact, forget_preact, cell_preact, out_preact = sums.total_bg.chunk(4, dim=1)
    in_gate = torch.sigmoid(in_preact)
    forget_gate = torch.sigmoid(forget_preact)
    cell_gate = torch.tanh(cell_preact)
    out_gate = torch.sigmoid(out_preact)
    cell_bh = forget_gate * state.memory_bm + in_gate * cell_gate
    hidden_bh = out_gate * torch.tanh(cell_bh)
    return CellState(hidden_bh, cell_bh)


def gru_cell(sums: GateSums, state: CellState) -> CellState:
    """Gated recurrent unit (Cho et al. 2014), the reset gate after the matrix product."""
    reset, update, new = sums.chunk(3)
    assert new.recurrent_bg is not None
    reset_gate = torch.sigmoid(reset.total_bg)
    update_gate = torch.sigmoid(update.total_bg)
    new_gate = torch.tanh(new.input_bg + reset_gate * new.recurrent_bg)
    return CellState((1 - update_gate) * new_gate + update_gate * state.hidden_bh)


def rnn_tanh_cell(sums: GateSums, _state: CellState) -> CellState:
    """Simple recurrence (Elman 1990)."""
    return CellState(torch.tanh(sums.total_bg))


def rnn_relu_cell(sums: GateSums, _state: CellState) -> CellState:
    """Simple recurrence with rectified units (Le, Jaitly and Hinton 2015)."""
    return CellState(torch.relu(sums.total_bg))


def mingru_cell(sums: GateSums, state: CellState) -> CellState:
    """Minimal gated recurrent unit (Feng et al. 2024, "Were RNNs All We Needed?")."""
    update_preact, candidate_preact = sums.input_bg.chunk(2, dim=1)
    update_gate = torch.sigmoid(update_preact)
    candidate = positive(candidate_preact)
    return CellState((1 - update_gate) * state.hidden_bh + update_gate * candidate)


def minlstm_cell(sums: GateSums, state: CellState) -> CellState:
    """Minimal long short-term memory (Feng et al. 2024), its two gates scaled to sum to 1."""
    forget_preact, in_preact, candidate_preact = sums.input_bg.chunk(3, dim=1)
    forget_gate = torch.sigmoid(forget_preact)
    in_gate = torch.sigmoid(in_preact)
    candidate = positive(candidate_preact)
    forget_share = forget_gate / (forget_gate + in_gate)
    in_share = in_gate / (forget_gate + in_gate)
    return CellState(forget_share * state.hidden_bh + in_share * candidate)


def positive(x: Tensor) -> Tensor:
    """What the minimal cells have in place of tanh: x + 0.5 from 0 on, sigmoid(x) below."""
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))


Update = Callable[[GateSums, CellState], CellState]

UPDATES: dict[CellName, Update] = {
    "rnn_tanh": rnn_tanh_cell,
    "rnn_relu": rnn_relu_cell,
    "lstm": lstm_cell,
    "gru": gru_cell,
    "mingru": mingru_cell,
    "minlstm": minlstm_cell,
}

# Which gates are sigmoids, in the order of the stacked weights.
SIGMOID_GATES: dict[CellName, tuple[str | None, ...]] = {
    "rnn_tanh": (None,),
    "rnn_relu": (None,),
    "lstm": ("in_gate", "forget_gate", None, "out_gate"),
    "gru": ("reset_gate", "update_gate", None),
    "mingru": ("update_gate", None),
    "minlstm": ("forget_gate", "in_gate", None),
}


def gate_sums(weights: CellWeights, x: Tensor, hidden: Tensor) -> GateSums:
    """Of inputs [.., D] and hidden states [.., H]."""
    input_bg = x @ weights.input_weight_gd.T + weights.input_bias_g
    return GateSums(input_bg, recurrent_sums(weights, hidden))


def recurrent_sums(
    weights: CellWeights, hidden: Tensor, hidden_mask: Tensor | None = None
) -> Tensor | None:
    """What hidden states [.., H] add to the gates; None for the minimal cells.

    Args:
        hidden_mask: multiplies them on their way into the product.
    """
    if weights.recurrent_weight_gh is None or weights.recurrent_bias_g is None:
        return None
    seen = hidden if hidden_mask is None else hidden * hidden_mask
    return seen @ weights.recurrent_weight_gh.T + weights.recurrent_bias_g


def gate_activations(cell: CellName, sums: GateSums) -> dict[str, Tensor]:
    """The sigmoid gates [.., H] by their names."""
    names = SIGMOID_GATES[cell]
    parts = sums.chunk(len(names))
    return {
        name: torch.sigmoid(part.total_bg)
        for name, part in zip(names, parts, strict=True)
        if name is not None
    }


def _cell(update: Update, x_bd: Tensor, state: CellState, weights: CellWeights) -> CellState:
    return update(gate_sums(weights, x_bd, state.hidden_bh), state)


Cell = Callable[[Tensor, CellState, CellWeights], CellState]

CELLS: dict[CellName, Cell] = {name: partial(_cell, update) for name, update in UPDATES.items()}
