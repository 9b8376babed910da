"""The linear recurrence h[t] = decay[t] * h[t-1] + addend[t], which is all that a minimal cell is.

In linear space: decays are between 0 and 1, so nothing grows, and on a CPU the sequential way beats
every parallel one; a device that waits for each launch takes log2(T) rounds of doubling instead.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# From decay [B, T, H], addend [B, T, H] and the start [B, H] to the states [B, T, H].
Scan = Callable[[Tensor, Tensor, Tensor], Tensor]


def linear_scan(
    decay_bth: Tensor, addend_bth: Tensor, start_bh: Tensor, scan: Scan | None = None
) -> Tensor:
    """The states [B, T, H] after every timestep; gradients flow to all three.

    Args:
        scan: the way of computing it; by the device if None.
    """
    if scan is None:
        scan = doubling_scan if decay_bth.is_cuda else sequential_scan
    states_bth: Tensor = _LinearScan.apply(decay_bth, addend_bth, start_bh, scan)  # type: ignore[no-untyped-call]
    return states_bth


def sequential_scan(decay_bth: Tensor, addend_bth: Tensor, start_bh: Tensor) -> Tensor:
    """One timestep after the other."""
    states_bth = torch.empty_like(addend_bth)
    state_bh = start_bh
    timesteps = zip(decay_bth.unbind(1), addend_bth.unbind(1), states_bth.unbind(1), strict=True)
    for decay_bh, addend_bh, out_bh in timesteps:
        state_bh = torch.addcmul(addend_bh, decay_bh, state_bh, out=out_bh)
    return states_bth


def doubling_scan(decay_bth: Tensor, addend_bth: Tensor, start_bh: Tensor) -> Tensor:
    """Spans of 1, 2, 4, ... timesteps, each joined with the one before it (Hillis and Steele
    1986)."""
    first_b1h = torch.addcmul(addend_bth[:, :1], decay_bth[:, :1], start_bh[:, None])
    states_bth = torch.cat([first_b1h, addend_bth[:, 1:]], dim=1)
    span = 1
    while span < states_bth.shape[1]:
        joined = torch.addcmul(states_bth[:, span:], decay_bth[:, span:], states_bth[:, :-span])
        states_bth = torch.cat([states_bth[:, :span], joined], dim=1)
        decays = decay_bth[:, span:] * decay_bth[:, :-span]
        decay_bth = torch.cat([decay_bth[:, :span], decays], dim=1)
        span *= 2
    return states_bth


class _LinearScan(torch.autograd.Function):
    """The gradient of a scan is the same scan from the end, without a tape of T operations."""

    @staticmethod
    def forward(
        ctx: Any, decay_bth: Tensor, addend_bth: Tensor, start_bh: Tensor, scan: Scan
    ) -> Tensor:
        states_bth = scan(decay_bth, addend_bth, start_bh)
        ctx.save_for_backward(decay_bth, states_bth, start_bh)
        ctx.scan = scan
        return states_bth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_bth: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        decay_bth, states_bth, start_bh = ctx.saved_tensors
        # What reaches a state comes back through the decay after it; nothing is after the last.
        after_bth = decay_bth.roll(-1, dims=1).flip(1)
        addend_gradient_bth = ctx.scan(
            after_bth, gradient_bth.flip(1), torch.zeros_like(start_bh)
        ).flip(1)
        before_bth = torch.cat([start_bh[:, None], states_bth[:, :-1]], dim=1)
        start_gradient_bh = decay_bth[:, 0] * addend_gradient_bth[:, 0]
        return addend_gradient_bth * before_bth, addend_gradient_bth, start_gradient_bh, None
