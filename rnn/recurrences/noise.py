"""Regularisers inside a recurrence: dropped weights, dropped hidden states, kept states.

Everything is drawn once for a pass over sequences, from the training's own generator.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rnn.cells import CellState


class Zoneout(NamedTuple):
    """How much of a state stays as it was at each timestep: masks of 0 and 1 while training, their
    mean otherwise (Krueger et al. 2017).

    Attributes:
        hidden_tbh: [T, B, H], or of size 1 where it is the same for all.
        memory_tbm: likewise; None where nothing of the memory is kept.
    """

    hidden_tbh: Tensor
    memory_tbm: Tensor | None

    def mix(self, timestep: int, before: CellState, after: CellState) -> CellState:
        """The state after a timestep that keeps its share of the one before."""
        hidden_bh = torch.lerp(after.hidden_bh, before.hidden_bh, self.hidden_tbh[timestep])
        memory_bm = after.memory_bm
        if self.memory_tbm is not None and memory_bm is not None:
            assert before.memory_bm is not None
            memory_bm = torch.lerp(memory_bm, before.memory_bm, self.memory_tbm[timestep])
        return CellState(hidden_bh, memory_bm)


class Noise(NamedTuple):
    """What regularisation adds to one pass over sequences.

    Attributes:
        hidden_mask_bh: [B, H] multiplies the hidden state on its way to the gates, the same at all
            timesteps (Gal and Ghahramani 2016).
        zoneout: states that stay as they were.
    """

    hidden_mask_bh: Tensor | None = None
    zoneout: Zoneout | None = None


NO_NOISE = Noise()


def dropout_mask(like: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Zeros for a share `rate`, and what keeps the mean for the others."""
    return torch.empty_like(like).bernoulli_(1 - rate, generator=generator).div_(1 - rate)


def zoneout_masks(
    timesteps: int, state: CellState, rate: float, generator: torch.Generator
) -> Zoneout:
    """Independent ones for every timestep, row and unit, of the hidden state and of a memory of
    the same size. Larger memories are quantities that must change together: they are not kept."""
    hidden_bh, memory_bm = state

    def mask() -> Tensor:
        return hidden_bh.new_empty(timesteps, *hidden_bh.shape).bernoulli_(
            rate, generator=generator
        )

    return Zoneout(mask(), mask() if _is_zoned_out(hidden_bh, memory_bm) else None)


def zoneout_mean(timesteps: int, state: CellState, rate: float) -> Zoneout:
    """What the masks are on average."""
    hidden_bh, memory_bm = state
    share_t11 = hidden_bh.new_full((timesteps, 1, 1), rate)
    return Zoneout(share_t11, share_t11 if _is_zoned_out(hidden_bh, memory_bm) else None)


def _is_zoned_out(hidden_bh: Tensor, memory_bm: Tensor | None) -> bool:
    return memory_bm is not None and memory_bm.shape == hidden_bh.shape
