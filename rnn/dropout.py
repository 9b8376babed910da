"""Dropout whose randomness is a generator that can be saved, not the process's global one."""

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zeroes units while training and scales the others up, so that the mean stays.

    Args:
        rate: share of units zeroed.
        generator: source of the masks, on the device of the inputs.
        locked: one mask for all timesteps of a sequence [B, T, D] (Gal and Ghahramani 2016).
    """

    def __init__(self, rate: float, generator: torch.Generator, *, locked: bool = False) -> None:
        super().__init__()
        self.rate = rate
        self.generator = generator
        self.locked = locked

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        shape = (x.shape[0], 1, x.shape[2]) if self.locked else x.shape
        mask = torch.empty(shape, dtype=x.dtype, device=x.device)
        return x * mask.bernoulli_(keep, generator=self.generator).div_(keep)
