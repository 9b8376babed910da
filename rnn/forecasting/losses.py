"""What training minimises; positions that a mask leaves out count neither above nor below."""

import torch
from torch import Tensor
from torch.nn import functional


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the positions where the mask is true."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def pinball_loss(
    predicted_bhq: Tensor, target_bh: Tensor, mask_bh: Tensor, levels_q: Tensor
) -> Tensor:
    """Mean quantile loss over levels and observed targets (Koenker and Bassett 1978), doubled so
    that the median's part is the absolute error."""
    error_bhq = target_bh[:, :, None] - predicted_bhq
    loss_bhq = torch.maximum(levels_q * error_bhq, (levels_q - 1) * error_bhq)
    return masked_mean(2 * loss_bhq.mean(dim=2), mask_bh)


def forecast_loss(
    outputs_bhq: Tensor, target_bh: Tensor, mask_bh: Tensor, levels_q: Tensor
) -> Tensor:
    """Pinball loss of the quantiles plus the error of the mean, which comes first.

    The mean's error grows linearly beyond four window scales, so that a spike cannot drown the
    other windows.
    """
    mean_bh, quantiles_bhq = outputs_bhq[:, :, 0], outputs_bhq[:, :, 1:]
    squared_bh = functional.huber_loss(mean_bh, target_bh, reduction="none", delta=4.0)
    return pinball_loss(quantiles_bhq, target_bh, mask_bh, levels_q) + MEAN_WEIGHT * masked_mean(
        squared_bh, mask_bh
    )


def point_loss(predicted_bh: Tensor, target_bh: Tensor, mask_bh: Tensor) -> Tensor:
    """Absolute error, rounded off near zero.

    Long series drift and break; what a squared error learns from their largest changes does not
    come again, and even the squared error of held-out windows is larger for it.
    """
    error_bh = functional.smooth_l1_loss(predicted_bh, target_bh, reduction="none", beta=ROUNDED)
    return masked_mean(error_bh, mask_bh)


MEAN_WEIGHT = 0.2
ROUNDED = 0.05  # window scales
