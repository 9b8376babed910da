"""The recurrences as their equations, one step at a time: the reference for every faster path.

Weights have torch's layout, gates stacked along the first dimension: LSTM in, forget, cell, out;
GRU reset, update, new; minGRU update, candidate; minLSTM forget, in, candidate. `input_weight_gd`
is [G*H, D], `recurrent_weight_gh` [G*H, H]; the minimal cells have no recurrent part: None.
"""

from collections.abc import Callable
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
    hidden_bh: Tensor
    memory_bm: Tensor | None = None


def lstm_cell(x_bd: Tensor, state: CellState, weights: CellWeights) -> CellState:
    """Long short-term memory with a forget gate (Gers, Schmidhuber and Cummins 2000)."""
    assert state.memory_bm is not None
    gates_bg = _input_part(x_bd, weights) + _recurrent_part(state, weights)
    in_preact, forget_preact, cell_preact, out_preact = gates_bg.chunk(4, dim=1)
    in_gate = torch.sigmoid(in_preact)
    forget_gate = torch.sigmoid(forget_preact)
    cell_gate = torch.tanh(cell_preact)
    out_gate = torch.sigmoid(out_preact)
    cell_bh = forget_gate * state.memory_bm + in_gate * cell_gate
    hidden_bh = out_gate * torch.tanh(cell_bh)
    return CellState(hidden_bh, cell_bh)


def gru_cell(x_bd: Tensor, state: CellState, weights: CellWeights) -> CellState:
    """Gated recurrent unit (Cho et al. 2014), the reset gate after the matrix product."""
    input_reset, input_update, input_new = _input_part(x_bd, weights).chunk(3, dim=1)
    hidden_reset, hidden_update, hidden_new = _recurrent_part(state, weights).chunk(3, dim=1)
    reset_gate = torch.sigmoid(input_reset + hidden_reset)
    update_gate = torch.sigmoid(input_update + hidden_update)
    new_gate = torch.tanh(input_new + reset_gate * hidden_new)
    return CellState((1 - update_gate) * new_gate + update_gate * state.hidden_bh)


def rnn_tanh_cell(x_bd: Tensor, state: CellState, weights: CellWeights) -> CellState:
    """Simple recurrence (Elman 1990)."""
    return CellState(torch.tanh(_input_part(x_bd, weights) + _recurrent_part(state, weights)))


def rnn_relu_cell(x_bd: Tensor, state: CellState, weights: CellWeights) -> CellState:
    """Simple recurrence with rectified units (Le, Jaitly and Hinton 2015)."""
    return CellState(torch.relu(_input_part(x_bd, weights) + _recurrent_part(state, weights)))


def mingru_cell(x_bd: Tensor, state: CellState, weights: CellWeights) -> CellState:
    """Minimal gated recurrent unit (Feng et al. 2024, "Were RNNs All We Needed?")."""
    update_preact, candidate_preact = _input_part(x_bd, weights).chunk(2, dim=1)
    update_gate = torch.sigmoid(update_preact)
    candidate = positive(candidate_preact)
    return CellState((1 - update_gate) * state.hidden_bh + update_gate * candidate)


def minlstm_cell(x_bd: Tensor, state: CellState, weights: CellWeights) -> CellState:
    """Minimal long short-term memory (Feng et al. 2024), its two gates scaled to sum to 1."""
    forget_preact, in_preact, candidate_preact = _input_part(x_bd, weights).chunk(3, dim=1)
    forget_gate = torch.sigmoid(forget_preact)
    in_gate = torch.sigmoid(in_preact)
    candidate = positive(candidate_preact)
    forget_share = forget_gate / (forget_gate + in_gate)
    in_share = in_gate / (forget_gate + in_gate)
    return CellState(forget_share * state.hidden_bh + in_share * candidate)


def positive(x: Tensor) -> Tensor:
    """What the minimal cells have in place of tanh: x + 0.5 from 0 on, sigmoid(x) below."""
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))


def _input_part(x_bd: Tensor, weights: CellWeights) -> Tensor:
    return x_bd @ weights.input_weight_gd.T + weights.input_bias_g


def _recurrent_part(state: CellState, weights: CellWeights) -> Tensor:
    assert weights.recurrent_weight_gh is not None
    assert weights.recurrent_bias_g is not None
    return state.hidden_bh @ weights.recurrent_weight_gh.T + weights.recurrent_bias_g


Cell = Callable[[Tensor, CellState, CellWeights], CellState]

CELLS: dict[CellName, Cell] = {
    "rnn_tanh": rnn_tanh_cell,
    "rnn_relu": rnn_relu_cell,
    "lstm": lstm_cell,
    "gru": gru_cell,
    "mingru": mingru_cell,
    "minlstm": minlstm_cell,
}
