"""What torch computes of each row by itself.

A product of many rows is taken in another order than that of one, and the last elements of an array
go another way than the others, so the digits of a row would tell how many were asked beside it.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

_LINE = 16  # floats of a cache line, on whose bounds the order of a product also depends
_ALIKE = 64  # elements: in multiples of so many no instructions treat the last ones in another way
_UNDIVIDED = 2**15 - 1  # elements that torch leaves to one thread, whose end is then no other's


def row_by_row(compute: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """What `compute` makes of the inputs, on a CPU as if each row had come alone, to the last bit.

    Args:
        inputs: of equally many rows, all of which lie on one device.
    """
    if not inputs[0].is_cpu:
        return compute(*inputs)
    parts = zip(*(torch.split(x, 1) for x in inputs), strict=True)
    return torch.cat([compute(*map(_copy, part)) for part in parts])


class Rows(NamedTuple):
    """How a head computes a batch: of any inputs [B, ..., D], the rows together or each alone."""

    linear: Callable[[nn.Linear, Tensor], Tensor]
    gelu: Callable[[Tensor], Tensor]


def linear_alone(layer: nn.Linear, x: Tensor) -> Tensor:
    """The layer of each row as `row_by_row` has it: only the products are taken one by one."""
    if not x.is_cpu:
        return layer(x)  # type: ignore[no-any-return]
    weight_do, outputs = layer.weight.t(), layer.out_features
    x_bnd = x.flatten(1, -2) if x.dim() > 2 else x[:, None]
    rows, count, inputs = x_bnd.shape
    apart_bnd = _apart(rows, count, inputs).copy_(x_bnd)
    out_bno = _apart(rows, count, outputs)
    for x_nd, out_no in zip(apart_bnd.unbind(), out_bno.unbind(), strict=True):
        if layer.bias is None:
            torch.mm(x_nd, weight_do, out=out_no)
        else:
            torch.addmm(layer.bias, x_nd, weight_do, out=out_no)
    return out_bno.reshape(*x.shape[:-1], outputs)


def gelu_alone(x: Tensor) -> Tensor:
    """Likewise; rows that have no last elements of another way may go together."""
    size = x[0].numel() if len(x) else 0
    if not x.is_cpu or not size:
        return functional.gelu(x)
    together = max(1, _UNDIVIDED // size) if size % _ALIKE == 0 else 1
    return torch.cat([functional.gelu(_copy(part)) for part in torch.split(x, together)])


TOGETHER = Rows(lambda layer, x: layer(x), functional.gelu)
ALONE = Rows(linear_alone, gelu_alone)


def _copy(part: Tensor) -> Tensor:
    """At the bound of a cache line."""
    return part.clone(memory_format=torch.contiguous_format)


def _apart(rows: int, count: int, size: int) -> Tensor:
    """[rows, count, size] to be filled, each row at the bound of a cache line."""
    room = -(-count * size // _LINE) * _LINE
    return torch.empty(rows, room)[:, : count * size].view(rows, count, size)
