"""In which precision losses are computed."""

import torch
from torch import Tensor


def float32_or_better(x: Tensor) -> Tensor:
    """What autocast has rounded to fewer bits is brought back; nothing is rounded here."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
