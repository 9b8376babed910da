"""The matrix memory of xLSTM: its gates read the input alone, so that timesteps train at once."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnn.cells import CellState
from rnn.config import ArchitectureConfig
from rnn.recurrences.initialisation import init_gates
from rnn.recurrences.noise import NO_NOISE, Noise
from rnn.recurrences.recurrence import Recurrence, last_states

_CHUNK = 64  # timesteps that are computed at once: the time of that grows with their square
_EPSILON = 1e-5


class _Memory(NamedTuple):
    """Of N heads with d units each; matrix and normaliser are as they are in the paper divided by
    exp(stabiliser)."""

    matrix_bnvk: Tensor  # [B, N, d, d], from keys to values
    normaliser_bnk: Tensor
    stabiliser_bn: Tensor

    def flat(self) -> Tensor:
        return torch.cat([part.flatten(1) for part in self], dim=1)


class _Sources(NamedTuple):
    """What timesteps write and ask for."""

    query_bntk: Tensor
    key_bntk: Tensor
    value_bntv: Tensor
    in_preact_bnt: Tensor
    log_forget_bnt: Tensor

    def chunk(self, start: int) -> "_Sources":
        return _Sources(*(part[:, :, start : start + _CHUNK] for part in self))


class MLSTM(Recurrence):
    """Beck et al. 2024 ("xLSTM"), with a sigmoid forget gate, as in the authors' own networks.

    As in their block, what a head reads from its memory is normalised over its units before the out
    gate lets it leave. The hidden state is the last output: nothing in the recurrence reads it.
    Memory: [B, N*(d*d + d + 1)]. Products are stacked in the order query, key, value, out.
    """

    def __init__(self, config: ArchitectureConfig, input_size: int) -> None:
        hidden, heads = config.hidden_size, config.num_heads
        self.head_size = hidden // heads
        super().__init__(hidden, heads * (self.head_size**2 + self.head_size + 1))
        self.num_heads = heads
        self.input_weight_gd = nn.Parameter(torch.empty(4 * hidden, input_size))
        self.bias_g = nn.Parameter(torch.empty(4 * hidden))
        self.gate_weight_nd = nn.Parameter(torch.empty(2 * heads, input_size))  # in, forget
        self.gate_bias_n = nn.Parameter(torch.empty(2 * heads))
        self.gain_h = nn.Parameter(torch.empty(hidden))

    def initialise(self, config: ArchitectureConfig, generator: torch.Generator) -> None:
        """Forget-gate biases are spread from 3 to 6 over the heads, and nothing but them opens or
        closes the gates of heads at first, as in the authors' networks."""
        init_gates(self.input_weight_gd, None, 4, config, generator)
        nn.init.zeros_(self.bias_g)
        nn.init.zeros_(self.gate_weight_nd)
        nn.init.normal_(self.gate_bias_n, std=0.1, generator=generator)
        nn.init.ones_(self.gain_h)
        with torch.no_grad():
            self.gate_bias_n[self.num_heads :] = torch.linspace(3, 6, self.num_heads)

    def cell(self, x_bd: Tensor, state: CellState) -> CellState:
        matrix_bnvk, normaliser_bnk, stabiliser_bn = self._memory(state)
        query, key, value, out_preact = (x_bd @ self.input_weight_gd.T + self.bias_g).chunk(4, 1)
        query_bnk, key_bnk, value_bnv = (self._heads(part) for part in (query, key, value))
        key_bnk = key_bnk / self.head_size**0.5
        in_preact, forget_preact = (x_bd @ self.gate_weight_nd.T + self.gate_bias_n).chunk(2, 1)
        kept_bn = functional.logsigmoid(forget_preact) + stabiliser_bn
        stabiliser_bn = torch.maximum(kept_bn, in_preact)
        in_gate = torch.exp(in_preact - stabiliser_bn)[:, :, None]
        forget_gate = torch.exp(kept_bn - stabiliser_bn)[:, :, None]
        out_gate = torch.sigmoid(out_preact)
        outer_bnvk = value_bnv[:, :, :, None] * key_bnk[:, :, None, :]
        matrix_bnvk = forget_gate[..., None] * matrix_bnvk + in_gate[..., None] * outer_bnvk
        normaliser_bnk = forget_gate * normaliser_bnk + in_gate * key_bnk
        found_bnv = (matrix_bnvk @ query_bnk[..., None])[..., 0]
        weight_bn = (normaliser_bnk * query_bnk).sum(-1).abs()
        weight_bn = torch.maximum(weight_bn, _least_weight(stabiliser_bn))
        read_bnv = found_bnv / weight_bn[:, :, None]
        hidden_bh = out_gate * self._normalised(read_bnv)
        memory = _Memory(matrix_bnvk, normaliser_bnk, stabiliser_bn)
        return CellState(hidden_bh, memory.flat())

    def gates(self, x_btd: Tensor, _hidden_bth: Tensor, /) -> dict[str, Tensor]:
        """The forget gate is one a head [B, T, N]; the in gate is an exponential and not among
        them."""
        gates_btn = functional.linear(x_btd, self.gate_weight_nd, self.gate_bias_n)
        out_preact = functional.linear(x_btd, self.input_weight_gd, self.bias_g).chunk(4, -1)[3]
        return {
            "forget_gate": torch.sigmoid(gates_btn.chunk(2, -1)[1]),
            "out_gate": torch.sigmoid(out_preact),
        }

    def step(self, x_bd: Tensor, state: CellState) -> CellState:
        return self.cell(x_bd, state)

    def sequence(
        self,
        x_btd: Tensor,
        state: CellState,
        lengths_b: Tensor | None = None,
        noise: Noise = NO_NOISE,
    ) -> tuple[Tensor, CellState]:
        assert noise == NO_NOISE, "the configuration forbids it: no hidden state to act on"
        wide = self.bias_g.dtype  # autocast rounds the products of inputs alone
        parts_btg = functional.linear(x_btd, self.input_weight_gd, self.bias_g).to(wide)
        gates_btn = functional.linear(x_btd, self.gate_weight_nd, self.gate_bias_n).to(wide)
        with torch.autocast(x_btd.device.type, enabled=False):
            in_preact, forget_preact = gates_btn.chunk(2, dim=2)
            log_forget_btn = functional.logsigmoid(forget_preact)
            if lengths_b is not None:  # nothing is forgotten and nothing let in after the last one
                position_t = torch.arange(x_btd.shape[1], device=x_btd.device)
                beyond_bt1 = (position_t >= lengths_b[:, None])[:, :, None]
                in_preact = in_preact.masked_fill(beyond_bt1, -torch.inf)
                log_forget_btn = log_forget_btn.masked_fill(beyond_bt1, 0)
            query, key, value, out_preact = parts_btg.chunk(4, dim=2)
            sources = _Sources(
                *(self._heads(part).transpose(1, 2) for part in (query, key, value)),
                *(part.transpose(1, 2) for part in (in_preact, log_forget_btn)),
            )
            memory, reads = self._memory(state), []
            for start in range(0, x_btd.shape[1], _CHUNK):
                read_bntv, memory = _read_chunk(sources.chunk(start), memory)
                reads.append(read_bntv)
            read_btnv = torch.cat(reads, dim=2).transpose(1, 2)
            y_bth = torch.sigmoid(out_preact) * self._normalised(read_btnv)
        return y_bth, CellState(last_states(y_bth, lengths_b), memory.flat())

    def _heads(self, part: Tensor) -> Tensor:
        return part.view(*part.shape[:-1], self.num_heads, self.head_size)

    def _normalised(self, read: Tensor) -> Tensor:
        """[.., N, d] to [.., H]: over each head's units, with a gain."""
        even = functional.layer_norm(read, (self.head_size,), eps=_EPSILON)
        return even.flatten(-2) * self.gain_h

    def _memory(self, state: CellState) -> _Memory:
        assert state.memory_bm is not None
        heads, size = self.num_heads, self.head_size
        matrices = heads * size * size
        return _Memory(
            state.memory_bm[:, :matrices].view(-1, heads, size, size),
            state.memory_bm[:, matrices:-heads].view(-1, heads, size),
            state.memory_bm[:, -heads:],
        )


def _read_chunk(sources: _Sources, memory: _Memory) -> tuple[Tensor, _Memory]:
    """What each timestep of a chunk reads [B, N, T, d], and the memory after the last.

    Timestep t reads what timestep s wrote with the weight exp(in[s] + forgotten[t] -
    forgotten[s] - stabiliser[t]), where `forgotten` sums the forget gates' logarithms from the
    chunk's start. With stabiliser[t] = forgotten[t] + peak[t] that is exp(source[s] - peak[t]).
    What is read does not depend on the peaks, so no gradient goes through them.
    """
    query_bntk, key_bntk, value_bntv, in_preact_bnt, log_forget_bnt = sources
    key_bntk = key_bntk / key_bntk.shape[-1] ** 0.5
    forgotten_bnt = log_forget_bnt.cumsum(-1)
    source_bnt = in_preact_bnt - forgotten_bnt
    with torch.no_grad():
        peak_bnt = torch.maximum(source_bnt.cummax(-1).values, memory.stabiliser_bn[..., None])
    stabiliser_bnt = forgotten_bnt + peak_bnt
    timesteps = source_bnt.shape[-1]
    later_ts = torch.ones(timesteps, timesteps, dtype=torch.bool, device=source_bnt.device).triu(1)
    log_weight_bnts = source_bnt[:, :, None, :] - peak_bnt[:, :, :, None]
    weight_bnts = log_weight_bnts.masked_fill(later_ts, -torch.inf).exp()
    carried_bnt = torch.exp(memory.stabiliser_bn[..., None] - peak_bnt)

    match_bnts = weight_bnts * (query_bntk @ key_bntk.transpose(2, 3))
    before_bntv = query_bntk @ memory.matrix_bnvk.transpose(2, 3)
    found_bntv = carried_bnt[..., None] * before_bntv + match_bnts @ value_bntv
    before_bnt = (query_bntk @ memory.normaliser_bnk[..., None])[..., 0]
    total_bnt = (carried_bnt * before_bnt + match_bnts.sum(-1)).abs()
    total_bnt = torch.maximum(total_bnt, _least_weight(stabiliser_bnt))

    written_bntk = weight_bnts[:, :, -1, :, None] * key_bntk
    kept_bn1 = carried_bnt[:, :, -1:]
    after = _Memory(
        kept_bn1[..., None] * memory.matrix_bnvk + value_bntv.transpose(2, 3) @ written_bntk,
        kept_bn1 * memory.normaliser_bnk + written_bntk.sum(2),
        stabiliser_bnt[:, :, -1],
    )
    return found_bntv / total_bnt[..., None], after


def _least_weight(stabiliser: Tensor) -> Tensor:
    """What 1 in the paper is once divided by exp(stabiliser), while its square is a number."""
    largest = math.log(torch.finfo(stabiliser.dtype).max) / 2
    return torch.exp((-stabiliser).clamp(-largest, largest))
