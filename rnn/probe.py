"""A look along the timesteps of a stack: how much of the loss gradient reaches which hidden state.

The stack runs each layer in pieces, from one lag to the next, and the states that one piece hands
to the next are seen here. The pieces take the layers' fast paths as whole sequences do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rnn.cells import CellState


@dataclass(frozen=True)
class LayerReading:
    """What the forward direction of one layer read and said.

    Attributes:
        x_btd: [B, T, D] inputs.
        hidden_before_bth: [B, T, H] the hidden state before each timestep.
        y_bth: [B, T, H] the one after it.
    """

    x_btd: Tensor
    hidden_before_bth: Tensor
    y_bth: Tensor


class Probe:
    """What is wanted of one forward pass, and after it the gradients that came back.

    A lag is a number of timesteps from the end of the rows; states that lie at or before the start
    are left out. Only the forward direction of a bidirectional layer is looked at.
    """

    def __init__(self, lags: Sequence[int]) -> None:
        assert all(lag > 0 for lag in lags)
        self.lags = tuple(sorted(lags))
        self.readings: dict[int, LayerReading] = {}
        self._taps: dict[tuple[int, int], tuple[Tensor, Tensor | None]] = {}

    def pieces(self, timesteps: int) -> list[tuple[int, int, int | None]]:
        """First timestep, end and lag of each piece of rows of that length; the last piece, which
        ends with the rows, has no lag."""
        cuts = [(timesteps - lag, lag) for lag in reversed(self.lags) if lag < timesteps]
        starts = [0, *(end for end, _ in cuts)]
        ends: list[tuple[int, int | None]] = [*cuts, (timesteps, None)]
        return [(start, end, lag) for start, (end, lag) in zip(starts, ends, strict=True)]

    def read(self, layer: int, x_btd: Tensor, start: CellState | None, y_bth: Tensor) -> None:
        """Keeps a layer's inputs [B, T, D] and outputs [B, T, H] of the forward direction."""
        y_bth = y_bth.detach()
        first_bh = torch.zeros_like(y_bth[:, 0]) if start is None else start.hidden_bh.detach()
        before_bth = torch.cat([first_bh[:, None], y_bth[:, :-1]], dim=1)
        self.readings[layer] = LayerReading(x_btd.detach(), before_bth, y_bth)

    def record(
        self, layer: int, lag: int, end: CellState, y_bth: Tensor
    ) -> tuple[CellState, Tensor]:
        """What the piece that ends at a lag hands on, with the same numbers: its state to the next
        piece, its outputs [B, T, H] to what is above the layer. Whoever runs the pieces must go on
        with what is returned here: the gradient of both ways to the loss is seen in it together.

        Args:
            y_bth: of the forward direction alone.
        """
        hidden_tap_bh = torch.zeros_like(end.hidden_bh).requires_grad_()
        memory_tap_bm = None
        memory_bm = end.memory_bm
        if memory_bm is not None:
            memory_tap_bm = torch.zeros_like(memory_bm).requires_grad_()
            memory_bm = memory_bm + memory_tap_bm
        self._taps[layer, lag] = hidden_tap_bh, memory_tap_bm
        y_bth = torch.cat([y_bth[:, :-1], (y_bth[:, -1] + hidden_tap_bh)[:, None]], dim=1)
        return CellState(end.hidden_bh + hidden_tap_bh, memory_bm), y_bth

    def gradient_norms(self, loss: Tensor) -> dict[int, dict[int, float]]:
        """By layer and lag: the norm of the loss gradient with respect to the state at that lag,
        hidden state and memory together, by every way on which it reaches the loss.

        Leaves the gradients of the weights alone. The graph can be walked once.
        """
        taps = [
            (place, tap) for place, pair in self._taps.items() for tap in pair if tap is not None
        ]
        if not taps:
            return {}
        gradients = torch.autograd.grad(loss, [tap for _, tap in taps], allow_unused=True)
        squares: dict[tuple[int, int], Tensor] = {}
        for (place, tap), gradient in zip(taps, gradients, strict=True):
            square = (torch.zeros_like(tap) if gradient is None else gradient).double().square()
            squares[place] = squares.get(place, torch.zeros(())).to(square.device) + square.sum()
        norms: dict[int, dict[int, float]] = {}
        for (layer, lag), square in squares.items():
            norms.setdefault(layer, {})[lag] = float(square.sqrt())
        return {layer: dict(sorted(by_lag.items())) for layer, by_lag in sorted(norms.items())}
