"""The shapes of performance.md as networks of `rnn`, and the same weights in torch's own module."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rnn.config import (
    ArchitectureConfig,
    ClassificationArchitecture,
    GenerationArchitecture,
    GenerationConfig,
)
from rnn.determinism import Randomness
from rnn.generation.network import GenerationNetwork
from rnn.linear import linear
from rnn.stack import RecurrentStack

CPU = torch.device("cpu")


@dataclass(frozen=True)
class GenerationShape:
    vocabulary: int
    embedding_size: int
    hidden_size: int
    num_layers: int


# L is what its native figures were taken with: three layers of 1,150 and the output layer on top.
SHAPES = {
    "S": GenerationShape(256, 256, 512, 2),
    "L": GenerationShape(10_000, 400, 1_150, 3),
}


def generation_network(shape: GenerationShape) -> GenerationNetwork:
    """An untrained network of the shape, whose scores lie far enough apart to compare choices."""
    randomness = Randomness(0, CPU)
    architecture = GenerationArchitecture(
        num_layers=shape.num_layers,
        hidden_size=shape.hidden_size,
        embedding_size=shape.embedding_size,
        dropout=0,
    )
    config = GenerationConfig(task="text-generation", architecture=architecture)
    network = GenerationNetwork(config, randomness)
    network.embedding = nn.Embedding(shape.vocabulary, shape.embedding_size)
    nn.init.normal_(network.embedding.weight, generator=randomness.weights)
    network.head = linear(shape.hidden_size, shape.vocabulary, randomness)
    with torch.no_grad():
        network.head.weight.mul_(4)
    return network.eval()


def torch_lstm(stack: RecurrentStack) -> nn.LSTM:
    """The stack's weights in one `nn.LSTM`, batch first."""
    layers = stack.recurrent_layers()
    first = layers[0].weights()
    assert first.recurrent_weight_gh is not None
    lstm = nn.LSTM(
        first.input_weight_gd.shape[1],
        first.recurrent_weight_gh.shape[1],
        len(layers),
        batch_first=True,
        bidirectional=stack.bidirectional,
    )
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    with torch.no_grad():
        for index, layer in enumerate(layers):
            for suffix in ("", "_reverse") if stack.bidirectional else ("",):
                weights = layer.weights(backwards=bool(suffix))
                for name, weight in zip(names, weights, strict=True):
                    assert weight is not None
                    lstm.get_parameter(f"{name}_l{index}{suffix}").copy_(weight)
    return lstm.eval()


class TorchGeneration(nn.Module):
    """A byte model as most people write it: embedding, `nn.LSTM`, linear."""

    def __init__(self, network: GenerationNetwork) -> None:
        super().__init__()
        self.embedding, self.head = network.embedding, network.head
        self.lstm = torch_lstm(network.stack)

    def forward(
        self, tokens_bt: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y_bth, state = self.lstm(self.embedding(tokens_bt), state)
        return self.head(y_bth), state


class Classifier(nn.Module):
    """Sentences to two scores from the last states of both directions: BiLSTM 2x256."""

    VOCABULARY, EMBEDDING, HIDDEN, LAYERS, LABELS = 20_000, 128, 256, 2, 2

    def __init__(self) -> None:
        super().__init__()
        randomness = Randomness(0, CPU)
        architecture = ClassificationArchitecture(
            num_layers=self.LAYERS, hidden_size=self.HIDDEN, dropout=0
        )
        self.embedding = nn.Embedding(self.VOCABULARY, self.EMBEDDING)
        nn.init.normal_(self.embedding.weight, generator=randomness.weights)
        self.stack = RecurrentStack(
            architecture, self.EMBEDDING, randomness, bidirectional=True
        ).eval()
        self.out = linear(2 * self.HIDDEN, self.LABELS, randomness)


class Forecaster(nn.Module):
    """8 features over 168 timesteps to the next 24 values: LSTM 2x128."""

    FEATURES, HIDDEN, LAYERS, CONTEXT, HORIZON = 8, 128, 2, 168, 24

    def __init__(self) -> None:
        super().__init__()
        randomness = Randomness(0, CPU)
        architecture = ArchitectureConfig(
            cell="lstm", num_layers=self.LAYERS, hidden_size=self.HIDDEN, dropout=0
        )
        self.stack = RecurrentStack(architecture, self.FEATURES, randomness).eval()
        self.out = linear(self.HIDDEN, self.HORIZON, randomness)


def sentences(count: int = 512) -> list[Tensor]:
    """Token rows [T] of log-normal lengths, mean about 38 tokens."""
    random = np.random.RandomState(0)
    lengths = np.clip(np.round(np.exp(random.normal(3.35, 0.8, 512))), 3, 400).astype(int)
    rows = [torch.from_numpy(random.randint(1, Classifier.VOCABULARY, n)) for n in lengths]
    return rows[:count]
