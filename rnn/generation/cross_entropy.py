"""The loss over a large vocabulary without a score for every timestep and token at once."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CHUNK_SCORES = 2**22


def rows_per_chunk(scores_per_row: int) -> int:
    """How many rows' scores are worked on together."""
    return max(64, _CHUNK_SCORES // scores_per_row)


def linear_cross_entropy(
    y_nh: Tensor, weight_vh: Tensor, bias_v: Tensor, targets_n: Tensor
) -> Tensor:
    """The mean of -log softmax(y weight^T + bias) at the targets, in float32 or better.

    The gradients are computed beside the loss, chunk by chunk of rows, as the scores of each chunk
    are there: what is kept for the backward pass is as large as the arguments. Under autocast the
    products are in its precision.
    """
    loss: Tensor = _LinearCrossEntropy.apply(y_nh, weight_vh, bias_v, targets_n)  # type: ignore[no-untyped-call]
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, y_nh: Tensor, weight_vh: Tensor, bias_v: Tensor, targets_n: Tensor
    ) -> Tensor:
        device = y_nh.device.type
        dtype = weight_vh.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        y, weight, bias = y_nh.to(dtype), weight_vh.to(dtype), bias_v.to(dtype)
        loss = torch.zeros((), dtype=weight_vh.dtype, device=y_nh.device)
        y_grad = torch.empty_like(y_nh)
        weight_grad, bias_grad = torch.zeros_like(weight_vh), torch.zeros_like(bias_v)
        size = rows_per_chunk(len(weight_vh))
        with torch.autocast(device, enabled=False):
            for begin in range(0, len(y_nh), size):
                rows = slice(begin, begin + size)
                target_1 = targets_n[rows, None]
                scores = torch.addmm(bias, y[rows], weight.T).to(weight_vh.dtype)
                scores = torch.log_softmax(scores, dim=1)
                loss -= scores.gather(1, target_1).sum()
                # The gradient of a row's loss by its scores: probabilities, less one at the target.
                scores = scores.exp_().scatter_add_(
                    1, target_1, scores.new_full(target_1.shape, -1.0)
                )
                bias_grad += scores.sum(0)
                scores = scores.to(dtype)
                y_grad[rows] = scores @ weight
                if dtype == weight_grad.dtype:
                    weight_grad.addmm_(scores.T, y[rows])
                else:
                    weight_grad += scores.T @ y[rows]
        ctx.save_for_backward(y_grad, weight_grad, bias_grad)
        return loss / len(y_nh)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        y_grad, weight_grad, bias_grad = ctx.saved_tensors
        scale = grad / len(y_grad)
        return (y_grad * scale).to(y_grad.dtype), weight_grad * scale, bias_grad * scale, None
