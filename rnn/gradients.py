"""The gradient of a batch, taken whole or in parts that fit into the memory."""

from typing import NamedTuple

import torch

from rnn.config import TrainingConfig
from rnn.optim import activation_penalty, add_l1_gradient, clip_gradients
from rnn.work import WHOLE, Batch, Work, recurrent_stack


class BatchGradient(NamedTuple):
    """What a step tells of its batch (`rnn.events.StepDone`); the gradient is in the parameters."""

    loss: float
    norm: float
    timesteps: int


def batch_gradient(
    work: Work, batch: Batch, parts: int, training: TrainingConfig, *, bfloat16: bool
) -> BatchGradient:
    """Adds a batch's gradient, with its penalties and clipped, to that of the parameters.

    The gradients of the parts are summed, each with its share: up to rounding and to what dropout
    draws, it is the gradient of the whole. A single part has the whole's to the bit.
    """
    parameters = list(work.network.parameters())
    stack = recurrent_stack(work)
    device_type = parameters[0].device.type
    losses, timesteps = [], 0
    for rows in batch.parts(parts):
        with torch.autocast(device_type, torch.bfloat16, enabled=bfloat16):
            part = batch.loss(rows)
        loss, share = part.loss, WHOLE
        if parts > 1:
            share = batch.share(rows)
            loss = loss * share.targets
        losses.append(loss.detach())
        timesteps += part.timesteps
        if stack.outputs is not None:
            loss = loss + activation_penalty(stack.outputs, training, share)
            stack.outputs = None
        loss.backward()  # type: ignore[no-untyped-call]
    if training.l1_penalty:
        add_l1_gradient(parameters, training.l1_penalty)
    norm = clip_gradients(parameters, training.gradient_clip_norm, training.gradient_clip_value)
    values = torch.stack([*losses, norm]).tolist()
    return BatchGradient(sum(values[:-1]), values[-1], timesteps)
