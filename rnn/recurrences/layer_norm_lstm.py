"""Long short-term memory whose sums are normalised, so that no gate drifts into saturation."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnn.cells import CellState
from rnn.config import ArchitectureConfig
from rnn.recurrences.initialisation import init_gates, init_lstm_bias
from rnn.recurrences.recurrence import Recurrence

_EPSILON = 1e-5


class LayerNormLSTM(Recurrence):
    """Ba, Kiros and Hinton 2016: the products of the input and of the hidden state are normalised
    apart, each over all gates, and so is the memory before it leaves.

    Gates are stacked in the order in, forget, out, cell. The norms of the products have gains and
    share one bias.
    """

    recurrent_matrices = ("recurrent_weight_gh",)

    def __init__(self, config: ArchitectureConfig, input_size: int) -> None:
        hidden = config.hidden_size
        super().__init__(hidden, memory_size=hidden)
        self.input_weight_gd = nn.Parameter(torch.empty(4 * hidden, input_size))
        self.recurrent_weight_gh = nn.Parameter(torch.empty(4 * hidden, hidden))
        self.bias_g = nn.Parameter(torch.empty(4 * hidden))
        self.input_gain_g = nn.Parameter(torch.empty(4 * hidden))
        self.recurrent_gain_g = nn.Parameter(torch.empty(4 * hidden))
        self.memory_gain_h = nn.Parameter(torch.empty(hidden))
        self.memory_bias_h = nn.Parameter(torch.empty(hidden))

    def initialise(self, config: ArchitectureConfig, generator: torch.Generator) -> None:
        init_gates(self.input_weight_gd, self.recurrent_weight_gh, 4, config, generator)
        init_lstm_bias(self.bias_g, config, generator)
        for gain in (self.input_gain_g, self.recurrent_gain_g, self.memory_gain_h):
            nn.init.ones_(gain)
        nn.init.zeros_(self.memory_bias_h)

    def cell(self, x_bd: Tensor, state: CellState) -> CellState:
        assert state.memory_bm is not None
        input_bg = _normalised(x_bd @ self.input_weight_gd.T) * self.input_gain_g
        recurrent_bg = _normalised(state.hidden_bh @ self.recurrent_weight_gh.T)
        sums_bg = input_bg + recurrent_bg * self.recurrent_gain_g + self.bias_g
        in_preact, forget_preact, out_preact, cell_preact = sums_bg.chunk(4, dim=1)
        in_gate = torch.sigmoid(in_preact)
        forget_gate = torch.sigmoid(forget_preact)
        out_gate = torch.sigmoid(out_preact)
        cell_gate = torch.tanh(cell_preact)
        cell_bh = forget_gate * state.memory_bm + in_gate * cell_gate
        leaving_bh = _normalised(cell_bh) * self.memory_gain_h + self.memory_bias_h
        return CellState(out_gate * torch.tanh(leaving_bh), cell_bh)

    def gates(self, x_btd: Tensor, hidden_bth: Tensor, /) -> dict[str, Tensor]:
        sums_btg = self._sums(self.prepare(x_btd), hidden_bth)
        in_preact, forget_preact, out_preact, _ = sums_btg.chunk(4, dim=-1)
        return {
            "in_gate": torch.sigmoid(in_preact),
            "forget_gate": torch.sigmoid(forget_preact),
            "out_gate": torch.sigmoid(out_preact),
        }

    def prepare(self, x_btd: Tensor) -> Tensor:
        wide = self.bias_g.dtype  # autocast rounds the products alone
        input_btg = functional.linear(x_btd, self.input_weight_gd).to(wide)
        return functional.layer_norm(
            input_btg, self.bias_g.shape, self.input_gain_g, self.bias_g, _EPSILON
        )

    def advance(self, prepared_bg: Tensor, state: CellState) -> CellState:
        assert state.memory_bm is not None
        size = self.hidden_size
        sums_bg = self._sums(prepared_bg, state.hidden_bh)
        in_gate, forget_gate, out_gate = torch.sigmoid(sums_bg[:, : 3 * size]).chunk(3, dim=1)
        cell_gate = torch.tanh(sums_bg[:, 3 * size :])
        cell_bh = torch.addcmul(forget_gate * state.memory_bm, in_gate, cell_gate)
        leaving_bh = functional.layer_norm(
            cell_bh, (size,), self.memory_gain_h, self.memory_bias_h, _EPSILON
        )
        return CellState(out_gate * torch.tanh(leaving_bh), cell_bh)

    def _sums(self, prepared: Tensor, hidden: Tensor) -> Tensor:
        recurrent = functional.linear(hidden, self.recurrent_weight_gh)
        return prepared + functional.layer_norm(
            recurrent, self.bias_g.shape, self.recurrent_gain_g, None, _EPSILON
        )


def _normalised(x: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the last dimension."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + _EPSILON)
