"""The hidden state of a recurrent stack as one value: what a prefix, a session or a slot is."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class HiddenState:
    """Hidden states of all layers for B independent rows.

    Attributes:
        hidden_lbh: [L, B, H] output state of each layer.
        memory_lbm: [L, B, M] what each layer remembers besides, as wide as its cell makes it; None
            where the cell has no such memory.
    """

    hidden_lbh: Tensor
    memory_lbm: Tensor | None = None

    @staticmethod
    def cat(states: Sequence["HiddenState"]) -> "HiddenState":
        """One state with the rows of all, in order."""
        hidden_lbh = torch.cat([state.hidden_lbh for state in states], dim=1)
        memories = [state.memory_lbm for state in states if state.memory_lbm is not None]
        if not memories:
            return HiddenState(hidden_lbh)
        assert len(memories) == len(states), "states of different cells cannot be joined"
        return HiddenState(hidden_lbh, torch.cat(memories, dim=1))

    @property
    def batch_size(self) -> int:
        return self.hidden_lbh.shape[1]

    def select(self, rows: Sequence[int] | Tensor) -> "HiddenState":
        """A copy of the given rows, in the given order; a row may come twice."""
        index = torch.as_tensor(rows, dtype=torch.long, device=self.hidden_lbh.device)
        return HiddenState(
            self.hidden_lbh.index_select(1, index),
            None if self.memory_lbm is None else self.memory_lbm.index_select(1, index),
        )

    def part(self, rows: slice) -> "HiddenState":
        """A view of neighbouring rows."""
        return HiddenState(
            self.hidden_lbh[:, rows],
            None if self.memory_lbm is None else self.memory_lbm[:, rows],
        )

    def row(self, index: int) -> "HiddenState":
        """A copy of one row, as a batch of one."""
        return self.select([index])

    def detach(self) -> "HiddenState":
        """The same numbers, with no gradient flowing back through them."""
        return HiddenState(
            self.hidden_lbh.detach(), None if self.memory_lbm is None else self.memory_lbm.detach()
        )
