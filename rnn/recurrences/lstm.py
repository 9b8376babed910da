"""Long short-term memory with what `rnn.kernels` does not have: peepholes, and the Mogrifier."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnn.cells import CellState
from rnn.config import ArchitectureConfig
from rnn.recurrences.initialisation import init_gates, init_lstm_bias
from rnn.recurrences.recurrence import Recurrence


class LSTM(Recurrence):
    """Peepholes let the gates read the memory: in and forget gate the one before the timestep, the
    out gate the one after it (Gers and Schmidhuber 2000). In the Mogrifier's rounds the input and
    the hidden state scale each other before the gates read them (Melis, Kocisky and Blunsom 2020).

    Gates are stacked in the order in, forget, out, cell.
    """

    recurrent_matrices = ("recurrent_weight_gh",)

    def __init__(self, config: ArchitectureConfig, input_size: int) -> None:
        hidden = config.hidden_size
        super().__init__(hidden, memory_size=hidden)
        self.input_weight_gd = nn.Parameter(torch.empty(4 * hidden, input_size))
        self.recurrent_weight_gh = nn.Parameter(torch.empty(4 * hidden, hidden))
        self.bias_g = nn.Parameter(torch.empty(4 * hidden))
        self.peephole_weight_g = (
            nn.Parameter(torch.empty(3 * hidden)) if config.peephole else None
        )  # in, forget, out
        # Rounds in turn: from the hidden state to scales of the input [D, H], and back [H, D].
        self.round_weights = nn.ParameterList(
            torch.empty((hidden, input_size) if index % 2 else (input_size, hidden))
            for index in range(config.mogrifier_rounds)
        )

    def initialise(self, config: ArchitectureConfig, generator: torch.Generator) -> None:
        """Peepholes begin closed. The Mogrifier's rounds begin near the identity, for the hidden
        state is then small."""
        init_gates(self.input_weight_gd, self.recurrent_weight_gh, 4, config, generator)
        init_lstm_bias(self.bias_g, config, generator)
        if self.peephole_weight_g is not None:
            nn.init.zeros_(self.peephole_weight_g)
        for weight in self.round_weights:
            nn.init.xavier_uniform_(weight, generator=generator)

    def cell(self, x_bd: Tensor, state: CellState) -> CellState:
        assert state.memory_bm is not None
        hidden_bh = state.hidden_bh
        for index, weight in enumerate(self.round_weights):
            if index % 2 == 0:
                x_bd = 2 * torch.sigmoid(hidden_bh @ weight.T) * x_bd
            else:
                hidden_bh = 2 * torch.sigmoid(x_bd @ weight.T) * hidden_bh
        sums_bg = x_bd @ self.input_weight_gd.T + hidden_bh @ self.recurrent_weight_gh.T
        in_preact, forget_preact, out_preact, cell_preact = (sums_bg + self.bias_g).chunk(4, dim=1)
        in_peephole, forget_peephole, out_peephole = self._peepholes()
        in_gate = torch.sigmoid(in_preact + in_peephole * state.memory_bm)
        forget_gate = torch.sigmoid(forget_preact + forget_peephole * state.memory_bm)
        cell_gate = torch.tanh(cell_preact)
        cell_bh = forget_gate * state.memory_bm + in_gate * cell_gate
        out_gate = torch.sigmoid(out_preact + out_peephole * cell_bh)
        return CellState(out_gate * torch.tanh(cell_bh), cell_bh)

    def gates(self, x_btd: Tensor, hidden_bth: Tensor, /) -> dict[str, Tensor]:
        """Without what their peepholes see."""
        sums_btg = self._sums(self.prepare(x_btd), hidden_bth)
        in_preact, forget_preact, out_preact, _ = sums_btg.chunk(4, dim=-1)
        return {
            "in_gate": torch.sigmoid(in_preact),
            "forget_gate": torch.sigmoid(forget_preact),
            "out_gate": torch.sigmoid(out_preact),
        }

    def prepare(self, x_btd: Tensor) -> Tensor:
        """The products of the inputs, unless rounds change the inputs first."""
        if self.round_weights:
            return x_btd
        return functional.linear(x_btd, self.input_weight_gd, self.bias_g)

    def advance(self, prepared_bg: Tensor, state: CellState) -> CellState:
        assert state.memory_bm is not None
        size = self.hidden_size
        sums_bg = self._sums(prepared_bg, state.hidden_bh)
        cell_gate = torch.tanh(sums_bg[:, 3 * size :])
        if self.peephole_weight_g is None:
            opened_bg = torch.sigmoid(sums_bg[:, : 3 * size])
            in_gate, forget_gate, out_gate = opened_bg.chunk(3, dim=1)
            cell_bh = torch.addcmul(forget_gate * state.memory_bm, in_gate, cell_gate)
        else:
            seen_bg = torch.cat([state.memory_bm, state.memory_bm], dim=1)
            early_bg = torch.addcmul(
                sums_bg[:, : 2 * size], self.peephole_weight_g[: 2 * size], seen_bg
            )
            in_gate, forget_gate = torch.sigmoid(early_bg).chunk(2, dim=1)
            cell_bh = torch.addcmul(forget_gate * state.memory_bm, in_gate, cell_gate)
            out_preact = sums_bg[:, 2 * size : 3 * size]
            out_gate = torch.sigmoid(
                torch.addcmul(out_preact, self.peephole_weight_g[2 * size :], cell_bh)
            )
        return CellState(out_gate * torch.tanh(cell_bh), cell_bh)

    def _sums(self, prepared: Tensor, hidden: Tensor) -> Tensor:
        """What the gates read [.., 4H] of a timestep that `prepare` has seen."""
        if not self.round_weights:
            return prepared + functional.linear(hidden, self.recurrent_weight_gh)
        for index, weight in enumerate(self.round_weights):
            if index % 2 == 0:
                prepared = 2 * torch.sigmoid(functional.linear(hidden, weight)) * prepared
            else:
                hidden = 2 * torch.sigmoid(functional.linear(prepared, weight)) * hidden
        input_sums = functional.linear(prepared, self.input_weight_gd, self.bias_g)
        return input_sums + functional.linear(hidden, self.recurrent_weight_gh)

    def _peepholes(self) -> tuple[Tensor, ...]:
        if self.peephole_weight_g is None:
            return (self.bias_g.new_zeros(self.hidden_size),) * 3
        return self.peephole_weight_g.chunk(3)
