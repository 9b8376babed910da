"""Between the unit of a series and the units of its windows, in which networks compute."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnn.forecasting.coding import FURTHEST, CodedWindows
from rnn.forecasting.scale import WindowScale

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Targets:
    """The truth as losses want it; what was not observed is 0 and masked.

    Attributes:
        residual_bh: its distance from the base, in units of the window.
        mask_bh: where it was observed.
        value_bh, base_bh: truth and base in the unit of the series.
        location_b: of the window's scale.
    """

    residual_bh: Tensor
    mask_bh: Tensor
    value_bh: Tensor
    base_bh: Tensor
    location_b: Tensor

    @classmethod
    def of(cls, coded: CodedWindows, truth_bh: FloatArray, device: torch.device) -> "Targets":
        mask_bh = ~np.isnan(truth_bh)
        residual_bh = (truth_bh - coded.base_bh) / coded.scale.scale_b[:, None]

        def tensor(values: FloatArray) -> Tensor:
            return torch.from_numpy(values.astype(np.float32)).to(device)

        return cls(
            tensor(np.where(mask_bh, residual_bh, 0)),
            torch.from_numpy(mask_bh).to(device),
            tensor(np.where(mask_bh, truth_bh, 0)),
            tensor(coded.base_bh),
            tensor(coded.scale.location_b),
        )


@dataclass(frozen=True)
class Units:
    """What brings a network's numbers back to the unit of the series: the base [B, H] that they
    correct, and the scale of the windows."""

    base_bh: FloatArray
    scale: WindowScale

    @classmethod
    def of(cls, coded: CodedWindows) -> "Units":
        return cls(coded.base_bh, coded.scale)

    def values(self, corrections_bhn: FloatArray) -> FloatArray:
        """[B, H, N] corrections of the base in the unit of the series."""
        size_b11 = self.scale.scale_b[:, None, None]
        values_bhn: FloatArray = self.base_bh[:, :, None] + size_b11 * corrections_bhn
        return values_bhn

    def step(self, timestep: int, paths: int) -> "Units":
        """Of one future timestep, each row as often as it has paths."""
        return Units(
            np.repeat(self.base_bh[:, timestep : timestep + 1], paths, axis=0),
            WindowScale(
                np.repeat(self.scale.location_b, paths), np.repeat(self.scale.scale_b, paths)
            ),
        )


def read_values(values_bh: FloatArray, scale: WindowScale) -> NDArray[np.float32]:
    """[B, H, 2]: values in units of the window as a network reads them back, 0 where missing, and
    whether they were observed."""
    scaled_bh = np.clip(scale.transform(values_bh), -FURTHEST, FURTHEST)
    pairs_bh2 = np.stack([np.nan_to_num(scaled_bh), ~np.isnan(values_bh)], axis=2)
    return pairs_bh2.astype(np.float32)
