"""The scalar memory of xLSTM: exponential gates, and a normaliser of what they let in."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnn.cells import CellState
from rnn.config import ArchitectureConfig
from rnn.recurrences.initialisation import chrono_logits, init_gates, init_recurrent
from rnn.recurrences.recurrence import Recurrence


class SLSTM(Recurrence):
    """Beck et al. 2024 ("xLSTM"), with a sigmoid forget gate, as in the authors' own networks.

    Memory: cell, normaliser and stabiliser [B, 3H]; cell and normaliser are as they are in the
    paper divided by exp(stabiliser). Gates are stacked in the order in, forget, out, cell; units of
    a head do not read those of another.
    """

    recurrent_matrices = ("recurrent_weight_ngh",)

    def __init__(self, config: ArchitectureConfig, input_size: int) -> None:
        hidden, self.num_heads = config.hidden_size, config.num_heads
        super().__init__(hidden, memory_size=3 * hidden)
        head = hidden // self.num_heads
        self.input_weight_gd = nn.Parameter(torch.empty(4 * hidden, input_size))
        self.bias_g = nn.Parameter(torch.empty(4 * hidden))
        # Of each head, from its units to their gates.
        self.recurrent_weight_ngh = nn.Parameter(torch.empty(self.num_heads, 4 * head, head))

    def initialise(self, config: ArchitectureConfig, generator: torch.Generator) -> None:
        """Forget-gate biases are spread from 3 to 6 within each head, or by chrono."""
        init_gates(self.input_weight_gd, None, 4, config, generator)
        with torch.no_grad():
            for head_gh in self.recurrent_weight_ngh:
                for gate_hh in head_gh.chunk(4):
                    init_recurrent(gate_hh, config.recurrent_init, generator)
            nn.init.zeros_(self.bias_g)
            in_bias_h, forget_bias_h, _, _ = self.bias_g.chunk(4)
            if config.chrono_length is None:
                spread = torch.linspace(3, 6, self.hidden_size // self.num_heads)
                forget_bias_h.copy_(spread.repeat(self.num_heads))
            else:
                keep_h = chrono_logits(self.hidden_size, config.chrono_length, generator)
                forget_bias_h.copy_(keep_h)
                in_bias_h.copy_(-keep_h)

    def cell(self, x_bd: Tensor, state: CellState) -> CellState:
        assert state.memory_bm is not None
        cell_bh, normaliser_bh, stabiliser_bh = state.memory_bm.chunk(3, dim=1)
        recurrent_bg = state.hidden_bh @ self._recurrent_weight_gh().T
        sums_bg = x_bd @ self.input_weight_gd.T + recurrent_bg + self.bias_g
        in_preact, forget_preact, out_preact, cell_preact = sums_bg.chunk(4, dim=1)
        kept_bh = functional.logsigmoid(forget_preact) + stabiliser_bh
        stabiliser_bh = torch.maximum(kept_bh, in_preact)
        in_gate = torch.exp(in_preact - stabiliser_bh)
        forget_gate = torch.exp(kept_bh - stabiliser_bh)
        out_gate = torch.sigmoid(out_preact)
        cell_gate = torch.tanh(cell_preact)
        cell_bh = forget_gate * cell_bh + in_gate * cell_gate
        normaliser_bh = forget_gate * normaliser_bh + in_gate
        hidden_bh = out_gate * cell_bh / normaliser_bh.clamp_min(_tiny(normaliser_bh))
        return CellState(hidden_bh, torch.cat([cell_bh, normaliser_bh, stabiliser_bh], dim=1))

    def gates(self, x_btd: Tensor, hidden_bth: Tensor, /) -> dict[str, Tensor]:
        """The in gate is an exponential: it is not among them."""
        weight_gh = self._recurrent_weight_gh()
        sums_btg = self.prepare(x_btd) + functional.linear(hidden_bth, weight_gh)
        _, forget_preact, out_preact, _ = sums_btg.chunk(4, dim=-1)
        return {
            "forget_gate": torch.sigmoid(forget_preact),
            "out_gate": torch.sigmoid(out_preact),
        }

    def prepare(self, x_btd: Tensor) -> Tensor:
        return functional.linear(x_btd, self.input_weight_gd, self.bias_g)

    def advance(self, prepared_bg: Tensor, state: CellState) -> CellState:
        """What leaves does not depend on the stabiliser, so no gradient goes through it."""
        assert state.memory_bm is not None
        rows, size, heads = len(prepared_bg), self.hidden_size, self.num_heads
        cell_bh, normaliser_bh, stabiliser_bh = state.memory_bm.chunk(3, dim=1)
        hidden_nbh = state.hidden_bh.view(rows, heads, -1).transpose(0, 1)
        product_nbg = torch.bmm(hidden_nbh, self.recurrent_weight_ngh.transpose(1, 2))
        product_bgnh = product_nbg.view(heads, rows, 4, -1).permute(1, 2, 0, 3)
        sums_bg = (prepared_bg.view(rows, 4, heads, -1) + product_bgnh).view(rows, 4 * size)
        in_preact, forget_preact, out_preact, cell_preact = sums_bg.chunk(4, dim=1)
        kept_bh = functional.logsigmoid(forget_preact) + stabiliser_bh
        stabiliser_bh = torch.maximum(kept_bh, in_preact).detach()
        in_gate = torch.exp(in_preact - stabiliser_bh)
        forget_gate = torch.exp(kept_bh - stabiliser_bh)
        cell_bh = torch.addcmul(forget_gate * cell_bh, in_gate, torch.tanh(cell_preact))
        normaliser_bh = torch.addcmul(in_gate, forget_gate, normaliser_bh)
        floor = _tiny(normaliser_bh)
        hidden_bh = torch.sigmoid(out_preact) * cell_bh / normaliser_bh.clamp_min(floor)
        return CellState(hidden_bh, torch.cat([cell_bh, normaliser_bh, stabiliser_bh], dim=1))

    def _recurrent_weight_gh(self) -> Tensor:
        """[4H, H] with zeros between the heads."""
        by_gate = zip(*(head_gh.chunk(4) for head_gh in self.recurrent_weight_ngh), strict=True)
        blocks = [torch.block_diag(*heads) for heads in by_gate]  # type: ignore[no-untyped-call]
        return torch.cat(blocks)


def _tiny(x: Tensor) -> float:
    """Where every gate was closed beyond what numbers can tell, nothing leaves."""
    return torch.finfo(x.dtype).tiny
