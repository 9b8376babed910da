"""What torch computes of each row by itself.

A product of many rows is taken in another order than that of one, and the last elements of an array
go another way than the others, so the digits of a row would tell how many were asked beside it.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def row_by_row(compute: Callable[..., Tensor], *inputs: Tensor, rows: int = 1) -> Tensor:
    """What `compute` makes of the inputs, on a CPU as if each row had come alone, to the last bit.

    Args:
        inputs: of equally many rows, all of which lie on one device.
        rows: so many that follow each other are one's own.
    """
    if not inputs[0].is_cpu:
        return compute(*inputs)
    parts = zip(*(torch.split(x, rows) for x in inputs), strict=True)
    # Copies lie on bounds of cache lines, which the order of a product also depends on.
    return torch.cat([compute(*map(_copy, part)) for part in parts])


def _copy(part: Tensor) -> Tensor:
    return part.clone(memory_format=torch.contiguous_format)
