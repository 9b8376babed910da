"""Real-gated linear recurrent unit: its gates read the input alone, so that it can be scanned."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnn.cells import CellState
from rnn.config import ArchitectureConfig
from rnn.recurrences.initialisation import init_gates
from rnn.recurrences.noise import NO_NOISE, Noise
from rnn.recurrences.recurrence import Recurrence, advance_linearly, last_states
from rnn.scan import linear_scan

_SHARPNESS = 8.0  # c in the paper


class RGLRU(Recurrence):
    """De et al. 2024 ("Griffin"), behind a linear map of the layer's inputs to its units."""

    def __init__(self, config: ArchitectureConfig, input_size: int) -> None:
        hidden = config.hidden_size
        super().__init__(hidden)
        self.input_weight_hd = nn.Parameter(torch.empty(hidden, input_size))
        self.input_bias_h = nn.Parameter(torch.empty(hidden))
        self.gate_weight_gh = nn.Parameter(torch.empty(2 * hidden, hidden))  # recurrence, in
        self.gate_bias_g = nn.Parameter(torch.empty(2 * hidden))
        self.decay_logit_h = nn.Parameter(torch.empty(hidden))  # Lambda in the paper

    def initialise(self, config: ArchitectureConfig, generator: torch.Generator) -> None:
        """As in the paper: with open gates the decay is uniform from 0.9 to 0.999."""
        init_gates(self.input_weight_hd, None, 1, config, generator)
        init_gates(self.gate_weight_gh, None, 2, config, generator)
        nn.init.zeros_(self.input_bias_h)
        nn.init.zeros_(self.gate_bias_g)
        open_decay_h = torch.empty(self.hidden_size).uniform_(0.9, 0.999, generator=generator)
        with torch.no_grad():
            self.decay_logit_h.copy_(torch.logit(open_decay_h ** (1 / _SHARPNESS)))

    def cell(self, x_bd: Tensor, state: CellState) -> CellState:
        read_bh = x_bd @ self.input_weight_hd.T + self.input_bias_h
        recurrence_preact, in_preact = (read_bh @ self.gate_weight_gh.T + self.gate_bias_g).chunk(
            2, dim=1
        )
        recurrence_gate = torch.sigmoid(recurrence_preact)
        in_gate = torch.sigmoid(in_preact)
        decay_bh = torch.sigmoid(self.decay_logit_h) ** (_SHARPNESS * recurrence_gate)
        share_bh = torch.sqrt(1 - decay_bh**2)
        return CellState(decay_bh * state.hidden_bh + share_bh * (in_gate * read_bh))

    def gates(self, x_btd: Tensor, _hidden_bth: Tensor, /) -> dict[str, Tensor]:
        _, gates_btg = self._read(x_btd)
        recurrence_gate, in_gate = gates_btg.chunk(2, dim=-1)
        return {"recurrence_gate": recurrence_gate, "in_gate": in_gate}

    def prepare(self, x_btd: Tensor) -> Tensor:
        """Decay and addend. From the decay's logarithm, so that what is near 1 keeps its digits."""
        read_bth, gates_btg = self._read(x_btd)
        recurrence_gate, in_gate = gates_btg.chunk(2, dim=-1)
        rate_h = -_SHARPNESS * functional.softplus(-self.decay_logit_h)
        log_decay_bth = recurrence_gate * rate_h
        kept_square_bth = torch.expm1(2 * log_decay_bth).neg()
        # A root has no gradient at 0, where a gate is closed beyond what numbers can tell.
        share_bth = kept_square_bth.clamp_min(torch.finfo(read_bth.dtype).tiny).sqrt()
        return torch.cat([log_decay_bth.exp(), share_bth * (in_gate * read_bth)], dim=-1)

    def _read(self, x_btd: Tensor) -> tuple[Tensor, Tensor]:
        read_bth = functional.linear(x_btd, self.input_weight_hd, self.input_bias_h)
        gates_btg = functional.linear(read_bth, self.gate_weight_gh, self.gate_bias_g)
        wide = self.gate_bias_g.dtype  # autocast rounds the products alone
        return read_bth.to(wide), torch.sigmoid(gates_btg.to(wide))

    def advance(self, prepared_bg: Tensor, state: CellState) -> CellState:
        return advance_linearly(prepared_bg, state)

    def sequence(
        self,
        x_btd: Tensor,
        state: CellState,
        lengths_b: Tensor | None = None,
        noise: Noise = NO_NOISE,
    ) -> tuple[Tensor, CellState]:
        if noise.zoneout is not None:
            return super().sequence(x_btd, state, lengths_b, noise)
        decay_bth, addend_bth = self.prepare(x_btd).chunk(2, dim=-1)
        y_bth = linear_scan(decay_bth, addend_bth, state.hidden_bh)
        return y_bth, CellState(last_states(y_bth, lengths_b))
