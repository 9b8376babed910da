"""Single timesteps of a recurrent stack in torch, without the cost of torch's sequence interface.

A stepped `nn.LSTM` spends most of its time on set-up. Here the embedding is folded into the first
layer's input weights (a row of the product is looked up), input and recurrent weights of a layer
lie side by side for one matrix product, and the gates are taken in as few operations as there are.
Proved equal to `rnn.cells` and to the whole-sequence path. Cells that the kernels do not have step
by their own equations.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnn.cells import CellState, CellWeights
from rnn.config import MINIMAL_CELLS, CellName
from rnn.plain import minimal_parts
from rnn.stack import RecurrentStack, layer_state, stacked_state
from rnn.state import HiddenState

# From the layer's input [B, D] and its state to its new state; the first layer's input are tokens
# [B], looked up in the folded table.
StepLayer = Callable[[Tensor, CellState], CellState]


class Stepper:
    """One timestep of every row, with the embedding before the stack and the output layer after it
    where given.

    The weights are copied and rearranged once: a change of the stack may not be seen.

    Raises:
        ValueError: a bidirectional stack.
    """

    def __init__(
        self, stack: RecurrentStack, *, embedding_vd: Tensor | None, output: nn.Linear | None
    ) -> None:
        if stack.bidirectional:
            raise ValueError("what comes later cannot be stepped")
        self._stack = stack
        self._embedding_vd = None if embedding_vd is None else embedding_vd.detach()
        layers = stack.recurrent_layers()
        self._tokens_into_first = self._embedding_vd is not None and layers[0].native
        table_vd = None
        if self._embedding_vd is not None and self._tokens_into_first:
            table_vd = stack.input_norms[0](self._embedding_vd).detach()
        self._layers = [
            _step_layer(layer.cell, layer.weights(), table_vd if index == 0 else None)
            if layer.native
            else layer.step
            for index, layer in enumerate(layers)
        ]
        self._output = None
        if output is not None:
            self._output = output.bias.detach(), output.weight.detach().T.contiguous()

    def step(self, x: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        """Scores [B, V] (outputs [B, H] without an output layer) after tokens [B] or inputs [B, D],
        and the state with them read."""
        ends: list[CellState] = []

        def run(index: int, read_bd: Tensor) -> Tensor:
            folded = index == 0 and self._tokens_into_first
            end = self._layers[index](x if folded else read_bd, layer_state(state, index))
            ends.append(end)
            return end.hidden_bh

        y_bh = self._stack.connect(x if self._embedding_vd is None else self._embedding_vd[x], run)
        if self._output is not None:
            bias_v, weight_hv = self._output
            y_bh = torch.addmm(bias_v, y_bh, weight_hv)
        return y_bh, stacked_state(ends)


def _step_layer(cell: CellName, weights: CellWeights, table_vd: Tensor | None) -> StepLayer:
    weights = weights.detach()
    if cell in MINIMAL_CELLS:
        return _minimal_layer(cell, weights, table_vd)
    if cell == "gru":
        return _gru_layer(weights, table_vd)
    joined = _joined_product(cell, weights, table_vd)
    if cell == "lstm":
        return _lstm_layer(joined)
    activation = torch.tanh if cell == "rnn_tanh" else torch.relu

    def step(x: Tensor, state: CellState) -> CellState:
        return CellState(activation(joined(x, state.hidden_bh)))

    return step


def _lstm_layer(joined: Callable[[Tensor, Tensor], Tensor]) -> StepLayer:
    def step(x: Tensor, state: CellState) -> CellState:
        assert state.memory_bm is not None
        gates_bg = joined(x, state.hidden_bh)
        size = state.hidden_bh.shape[1]
        opened_bg = torch.sigmoid(gates_bg[:, : 3 * size])
        in_gate, forget_gate, out_gate = opened_bg.chunk(3, dim=1)
        cell_gate = torch.tanh(gates_bg[:, 3 * size :])
        cell_bh = torch.addcmul(forget_gate * state.memory_bm, in_gate, cell_gate)
        return CellState(out_gate * torch.tanh(cell_bh), cell_bh)

    return step


def _joined_product(
    cell: CellName, weights: CellWeights, table_vd: Tensor | None
) -> Callable[[Tensor, Tensor], Tensor]:
    """One product for input and recurrence; an LSTM's gates in the order in, forget, out, cell, so
    that the three sigmoids are one."""
    input_weight_gd, recurrent_weight_gh = weights.input_weight_gd, weights.recurrent_weight_gh
    assert recurrent_weight_gh is not None
    assert weights.recurrent_bias_g is not None
    bias_g = weights.input_bias_g + weights.recurrent_bias_g
    if cell == "lstm":
        input_weight_gd = _cell_gate_last(input_weight_gd)
        recurrent_weight_gh = _cell_gate_last(recurrent_weight_gh)
        bias_g = _cell_gate_last(bias_g)
    if table_vd is not None:
        folded_vg = table_vd @ input_weight_gd.T + bias_g
        recurrent_hg = recurrent_weight_gh.T.contiguous()
        return lambda tokens, hidden_bh: torch.addmm(folded_vg[tokens], hidden_bh, recurrent_hg)
    both = torch.cat([input_weight_gd, recurrent_weight_gh], dim=1).T.contiguous()
    return lambda x_bd, hidden_bh: torch.addmm(bias_g, torch.cat([x_bd, hidden_bh], dim=1), both)


def _cell_gate_last(stacked: Tensor) -> Tensor:
    in_part, forget_part, cell_part, out_part = stacked.chunk(4)
    return torch.cat([in_part, forget_part, out_part, cell_part])


def _gru_layer(weights: CellWeights, table_vd: Tensor | None) -> StepLayer:
    """The reset gate stands between the two products, so they stay apart."""
    assert weights.recurrent_weight_gh is not None
    recurrent_bias_g = weights.recurrent_bias_g
    assert recurrent_bias_g is not None
    folded_vg = None
    if table_vd is not None:
        folded_vg = functional.linear(table_vd, weights.input_weight_gd, weights.input_bias_g)
    input_dg = weights.input_weight_gd.T.contiguous()
    recurrent_hg = weights.recurrent_weight_gh.T.contiguous()

    def step(x: Tensor, state: CellState) -> CellState:
        hidden_bh = state.hidden_bh
        size = hidden_bh.shape[1]
        if folded_vg is None:
            input_bg = torch.addmm(weights.input_bias_g, x, input_dg)
        else:
            input_bg = folded_vg[x]
        recurrent_bg = torch.addmm(recurrent_bias_g, hidden_bh, recurrent_hg)
        opened_bg = torch.sigmoid(input_bg[:, : 2 * size] + recurrent_bg[:, : 2 * size])
        reset_gate, update_gate = opened_bg.chunk(2, dim=1)
        new_gate = torch.tanh(
            torch.addcmul(input_bg[:, 2 * size :], reset_gate, recurrent_bg[:, 2 * size :])
        )
        return CellState(torch.lerp(new_gate, hidden_bh, update_gate))

    return step


def _minimal_layer(cell: CellName, weights: CellWeights, table_vd: Tensor | None) -> StepLayer:
    """The gates do not read the state: of a token they are looked up with their activation."""
    if table_vd is not None:
        folded_vg = functional.linear(table_vd, weights.input_weight_gd, weights.input_bias_g)
        decay_vh, addend_vh = minimal_parts(cell, folded_vg)
        return lambda tokens, state: CellState(
            torch.addcmul(addend_vh[tokens], decay_vh[tokens], state.hidden_bh)
        )
    input_dg = weights.input_weight_gd.T.contiguous()

    def step(x: Tensor, state: CellState) -> CellState:
        decay_bh, addend_bh = minimal_parts(cell, torch.addmm(weights.input_bias_g, x, input_dg))
        return CellState(torch.addcmul(addend_bh, decay_bh, state.hidden_bh))

    return step
