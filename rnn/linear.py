"""Linear maps with weights drawn from a training's own random numbers."""

from torch import nn

from rnn.determinism import Randomness


def linear(inputs: int, outputs: int, randomness: Randomness) -> nn.Linear:
    """A linear map with Xavier weights and no bias at the start."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight, generator=randomness.weights)
    nn.init.zeros_(layer.bias)
    return layer
