"""Weights of a trained network as the start of another one."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from rnn.errors import CheckpointError


@torch.no_grad()
def take_weights(
    network: nn.Module, base: Mapping[str, Tensor], *, anew: Collection[str] = ()
) -> None:
    """Copies the weights of a base into all parts of a network but those that begin anew.

    What the base holds beyond that is left: a language model's head is no use to a classifier.

    Args:
        base: the base's weights by name (`rnn.checkpoint.Content.tensors`).
        anew: attributes of the network that keep their weights.

    Raises:
        CheckpointError: the base lacks a part, or has it in another shape.
    """
    for name, own in network.state_dict().items():
        if name.partition(".")[0] in anew:
            continue
        given = base.get(name)
        if given is None or given.shape != own.shape:
            has = "is not there" if given is None else f"has the shape {tuple(given.shape)}"
            raise CheckpointError(
                f"the base model does not fit: {name} {has}, not {tuple(own.shape)}"
            )
        own.copy_(given)
