"""What every recurrence outside `rnn.kernels` is: a reference cell, and a fast path over sequences.

By default that path takes the products of all inputs at once and then walks from timestep to
timestep; a recurrence that can do better overrides `sequence`.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rnn.cells import CellState
from rnn.config import ArchitectureConfig
from rnn.recurrences.noise import NO_NOISE, Noise

# From what one timestep's inputs came to [B, G] and the state before it to the state after it.
Advance = Callable[[Tensor, CellState], CellState]


class Recurrence(nn.Module):
    """One direction of one layer, from inputs [B, T, D] to outputs [B, T, H].

    Attributes:
        hidden_size: H.
        memory_size: M, values kept besides the hidden state; 0 for none.
        recurrent_matrices: names of the parameters that weight dropout takes shares of.
    """

    recurrent_matrices: tuple[str, ...] = ()

    def __init__(self, hidden_size: int, memory_size: int = 0) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.memory_size = memory_size

    def cell(self, x_bd: Tensor, state: CellState) -> CellState:
        """The published equations: the state after inputs [B, D]. The reference for `sequence`."""
        raise NotImplementedError

    def initialise(self, config: ArchitectureConfig, generator: torch.Generator) -> None:
        """Draws the weights that a training starts from."""
        raise NotImplementedError

    def gates(self, x_btd: Tensor, hidden_bth: Tensor, /) -> dict[str, Tensor]:
        """Activations [B, T, ..] of the gates between 0 and 1 by their names, from each timestep's
        input and the hidden state before it."""
        raise NotImplementedError

    def prepare(self, x_btd: Tensor) -> Tensor:
        """All that can be computed [.., G] of inputs [.., D] before the state is known."""
        raise NotImplementedError

    def advance(self, prepared_bg: Tensor, state: CellState) -> CellState:
        """The state after one timestep of what `prepare` returned."""
        raise NotImplementedError

    def step(self, x_bd: Tensor, state: CellState) -> CellState:
        """What `cell` returns, computed as fast as one timestep can be."""
        return self.advance(self.prepare(x_bd), state)

    def sequence(
        self,
        x_btd: Tensor,
        state: CellState,
        lengths_b: Tensor | None = None,
        noise: Noise = NO_NOISE,
    ) -> tuple[Tensor, CellState]:
        """Outputs [B, T, H] at every timestep, and the state after each row's own last one.

        Args:
            x_btd: [B, T, D], rows padded at the end.
            lengths_b: timesteps of each row, at least one; all T if None. Outputs on padding are
                meaningless.
        """
        prepared_btg = self.prepare(x_btd).to(state.hidden_bh.dtype)
        # Autocast would round sums and states too.
        with torch.autocast(x_btd.device.type, enabled=False):
            return walk(self.advance, prepared_btg, state, lengths_b, noise)

    def forward(
        self,
        x_btd: Tensor,
        state: CellState,
        lengths_b: Tensor | None = None,
        noise: Noise = NO_NOISE,
    ) -> tuple[Tensor, CellState]:
        """`sequence`, where torch expects it."""
        return self.sequence(x_btd, state, lengths_b, noise)


def walk(
    advance: Advance,
    prepared_btg: Tensor,
    state: CellState,
    lengths_b: Tensor | None = None,
    noise: Noise = NO_NOISE,
) -> tuple[Tensor, CellState]:
    """One timestep after the other: outputs [B, T, H], and the state after each row's last one."""
    states: list[CellState] = []
    for timestep, prepared_bg in enumerate(prepared_btg.unbind(1)):
        seen = state
        if noise.hidden_mask_bh is not None:
            seen = CellState(state.hidden_bh * noise.hidden_mask_bh, state.memory_bm)
        after = advance(prepared_bg, seen)
        if noise.zoneout is not None:
            after = noise.zoneout.mix(timestep, state, after)
        state = after
        states.append(state)
    y_bth = torch.stack([state.hidden_bh for state in states], dim=1)
    if lengths_b is None:
        return y_bth, state
    memories = [state.memory_bm for state in states if state.memory_bm is not None]
    memory_bm = last_states(torch.stack(memories, dim=1), lengths_b) if memories else None
    return y_bth, CellState(last_states(y_bth, lengths_b), memory_bm)


def last_states(states_bth: Tensor, lengths_b: Tensor | None) -> Tensor:
    """[B, H] after each row's own last timestep."""
    if lengths_b is None:
        return states_bth[:, -1].contiguous()
    rows_b = torch.arange(len(lengths_b), device=lengths_b.device)
    return states_bth[rows_b, lengths_b - 1]


def advance_linearly(parts_bg: Tensor, state: CellState) -> CellState:
    """One timestep of `rnn.scan`: decay and addend side by side [B, 2H]."""
    decay_bh, addend_bh = parts_bg.chunk(2, dim=-1)
    return CellState(torch.addcmul(addend_bh, decay_bh, state.hidden_bh))
