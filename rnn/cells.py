"""The recurrences as their equations, one step at a time: the reference for every faster path.

Weights have torch's layout, gates stacked along the first dimension: LSTM in, forget, cell, out;
GRU reset, update, new. `input_weight_gd` is [G*H, D], `recurrent_weight_gh` [G*H, H].
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from rnn.config import CellName


class CellWeights(NamedTuple):
    input_weight_gd: Tensor
    recurrent_weight_gh: Tensor
    input_bias_g: Tensor
    recurrent_bias_g: Tensor


class CellState(NamedTuple):
    hidden_bh: Tensor
    cell_bh: Tensor | None = None


def lstm_cell(x_bd: Tensor, state: CellState, weights: CellWeights) -> CellState:
    """Long short-term memory with a forget gate (Gers, Schmidhuber and Cummins 2000)."""
    assert state.cell_bh is not None
    gates_bg = _input_part(x_bd, weights) + _recurrent_part(state, weights)
    in_preact, forget_preact, cell_preact, out_preact = gates_bg.chunk(4, dim=1)
    in_gate = torch.sigmoid(in_preact)
    forget_gate = torch.sigmoid(forget_preact)
    cell_gate = torch.tanh(cell_preact)
    out_gate = torch.sigmoid(out_preact)
    cell_bh = forget_gate * state.cell_bh + in_gate * cell_gate
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


def _input_part(x_bd: Tensor, weights: CellWeights) -> Tensor:
    return x_bd @ weights.input_weight_gd.T + weights.input_bias_g


def _recurrent_part(state: CellState, weights: CellWeights) -> Tensor:
    return state.hidden_bh @ weights.recurrent_weight_gh.T + weights.recurrent_bias_g


Cell = Callable[[Tensor, CellState, CellWeights], CellState]

CELLS: dict[CellName, Cell] = {
    "rnn_tanh": rnn_tanh_cell,
    "rnn_relu": rnn_relu_cell,
    "lstm": lstm_cell,
    "gru": gru_cell,
}
