"""Independently recurrent network: each unit reads its own last value alone."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from rnn.cells import CellState
from rnn.config import ArchitectureConfig
from rnn.recurrences.initialisation import init_gates
from rnn.recurrences.noise import NO_NOISE, Noise
from rnn.recurrences.recurrence import Recurrence, last_states
from rnn.scan import doubling_scan, sequential_scan


class IndRNN(Recurrence):
    """Li et al. 2018, rectified.

    A recurrent weight stays within 2^(1/T), so that nothing more than doubles over the T timesteps
    of `chrono_length`; within 1 where none is chosen. With it, memories start as long as T.
    """

    def __init__(self, config: ArchitectureConfig, input_size: int) -> None:
        super().__init__(config.hidden_size)
        self.largest = 1.0 if config.chrono_length is None else 2 ** (1 / config.chrono_length)
        self.input_weight_hd = nn.Parameter(torch.empty(config.hidden_size, input_size))
        self.recurrent_weight_h = nn.Parameter(torch.empty(config.hidden_size))
        self.bias_h = nn.Parameter(torch.empty(config.hidden_size))

    def initialise(self, config: ArchitectureConfig, generator: torch.Generator) -> None:
        init_gates(self.input_weight_hd, None, 1, config, generator)
        nn.init.zeros_(self.bias_h)
        smallest = 0.0 if config.chrono_length is None else 1 / self.largest
        nn.init.uniform_(self.recurrent_weight_h, smallest, self.largest, generator=generator)

    def cell(self, x_bd: Tensor, state: CellState) -> CellState:
        recurrent_weight_h = self.recurrent_weight_h.clamp(-self.largest, self.largest)
        preact_bh = x_bd @ self.input_weight_hd.T + recurrent_weight_h * state.hidden_bh
        return CellState(torch.relu(preact_bh + self.bias_h))

    def gates(self, _x_btd: Tensor, _hidden_bth: Tensor, /) -> dict[str, Tensor]:
        return {}

    def prepare(self, x_btd: Tensor) -> Tensor:
        return functional.linear(x_btd, self.input_weight_hd, self.bias_h)

    def advance(self, prepared_bg: Tensor, state: CellState) -> CellState:
        preact_bh = torch.addcmul(prepared_bg, self._bounded_weight(), state.hidden_bh)
        return CellState(torch.relu(preact_bh))

    def sequence(
        self,
        x_btd: Tensor,
        state: CellState,
        lengths_b: Tensor | None = None,
        noise: Noise = NO_NOISE,
    ) -> tuple[Tensor, CellState]:
        if noise.zoneout is not None:
            return super().sequence(x_btd, state, lengths_b, noise)
        prepared_bth = self.prepare(x_btd).to(state.hidden_bh.dtype)
        y_bth: Tensor = _RectifiedScan.apply(  # type: ignore[no-untyped-call]
            prepared_bth, self._bounded_weight(), state.hidden_bh
        )
        return y_bth, CellState(last_states(y_bth, lengths_b))

    def _bounded_weight(self) -> Tensor:
        weight_h: Tensor = _Bounded.apply(self.recurrent_weight_h, self.largest)  # type: ignore[no-untyped-call]
        return weight_h


class _Bounded(torch.autograd.Function):
    """Clamped; at the bound, gradients that would only push further out are dropped, and those that
    lead back are not. That is what the authors' clamping after each step comes to."""

    @staticmethod
    def forward(ctx: Any, weight_h: Tensor, largest: float) -> Tensor:
        ctx.save_for_backward(weight_h)
        ctx.largest = largest
        return weight_h.clamp(-largest, largest)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_h: Tensor) -> tuple[Tensor, None]:
        (weight_h,) = ctx.saved_tensors
        outwards = (weight_h.abs() >= ctx.largest) & (weight_h * gradient_h < 0)
        return gradient_h.masked_fill(outwards, 0), None


class _RectifiedScan(torch.autograd.Function):
    """h[t] = relu(input[t] + weight * h[t-1]). The way back is a linear scan through the open
    units."""

    @staticmethod
    def forward(ctx: Any, input_bth: Tensor, weight_h: Tensor, start_bh: Tensor) -> Tensor:
        states_bth = torch.empty_like(input_bth)
        state_bh = start_bh
        for input_bh, out_bh in zip(input_bth.unbind(1), states_bth.unbind(1), strict=True):
            state_bh = torch.addcmul(input_bh, weight_h, state_bh, out=out_bh).relu_()
        ctx.save_for_backward(states_bth, weight_h, start_bh)
        return states_bth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_bth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        states_bth, weight_h, start_bh = ctx.saved_tensors
        scan = doubling_scan if gradient_bth.is_cuda else sequential_scan
        closed_bth = states_bth.flip(1) <= 0
        input_gradient_bth = scan(
            weight_h.expand_as(closed_bth).masked_fill(closed_bth, 0),
            gradient_bth.flip(1).masked_fill(closed_bth, 0),
            torch.zeros_like(start_bh),
        ).flip(1)
        before_bth = torch.cat([start_bh[:, None], states_bth[:, :-1]], dim=1)
        weight_gradient_h = (input_gradient_bth * before_bth).sum((0, 1))
        return input_gradient_bth, weight_gradient_h, weight_h * input_gradient_bth[:, 0]
