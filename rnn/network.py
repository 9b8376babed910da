"""The three networks, each a recurrent stack between what it reads and what it answers."""

from torch import Tensor, nn

from rnn.config import (
    BYTE_VOCABULARY_SIZE,
    QUANTILE_LEVELS,
    ClassificationConfig,
    ForecastingConfig,
    GenerationConfig,
)
from rnn.data.windows import INPUT_FEATURES, WindowShape
from rnn.determinism import Randomness
from rnn.dropout import Dropout
from rnn.heads import ClassificationHead, ForecastHead, linear
from rnn.stack import RecurrentStack
from rnn.state import HiddenState


class ForecastingNetwork(nn.Module):
    """Coded windows to corrections of the seasonal naive forecast, in units of the window."""

    def __init__(self, config: ForecastingConfig, randomness: Randomness) -> None:
        super().__init__()
        shape = WindowShape.of(config.data)
        self.stack = RecurrentStack(config.architecture, INPUT_FEATURES, randomness)
        self.head = ForecastHead(
            self.stack.output_size,
            shape.future_features,
            shape.horizon,
            1 + len(QUANTILE_LEVELS),
            randomness,
        )

    def forward(self, inputs_btd: Tensor, future_bhd: Tensor) -> Tensor:
        """[B, horizon, 1 + Q]: the mean, then the quantiles in the order of the levels."""
        y_bth, _ = self.stack(inputs_btd)
        corrections: Tensor = self.head(y_bth[:, -1], future_bhd)
        return corrections


class ClassificationNetwork(nn.Module):
    """Word tokens to label scores."""

    def __init__(
        self,
        config: ClassificationConfig,
        vocabulary_size: int,
        labels: int,
        randomness: Randomness,
    ) -> None:
        super().__init__()
        architecture = config.architecture
        self.embedding = nn.Embedding(vocabulary_size, architecture.embedding_size)
        # Small, or the random vectors of rare words drown what is learned about frequent ones.
        nn.init.normal_(self.embedding.weight, std=0.1, generator=randomness.weights)
        self.dropout = Dropout(architecture.dropout, randomness.dropout)
        self.stack = RecurrentStack(
            architecture,
            architecture.embedding_size,
            randomness,
            bidirectional=architecture.bidirectional,
        )
        self.head = ClassificationHead(
            self.stack.output_size, labels, architecture.dropout, randomness
        )

    def forward(self, tokens_bt: Tensor, lengths_b: Tensor) -> Tensor:
        """[B, labels] scores; padding beyond a row's length is never read."""
        x_btd = self.dropout(self.embedding(tokens_bt))
        y_bth, _ = self.stack(x_btd, lengths_b=lengths_b, state_wanted=False)
        logits_bc: Tensor = self.head(y_bth, lengths_b)
        return logits_bc


class GenerationNetwork(nn.Module):
    """Byte tokens to scores of the next one, going on from a hidden state."""

    def __init__(self, config: GenerationConfig, randomness: Randomness) -> None:
        super().__init__()
        architecture = config.architecture
        self.embedding = nn.Embedding(BYTE_VOCABULARY_SIZE, architecture.embedding_size)
        nn.init.normal_(self.embedding.weight, std=1.0, generator=randomness.weights)
        self.stack = RecurrentStack(architecture, architecture.embedding_size, randomness)
        self.dropout = Dropout(architecture.dropout, randomness.dropout, locked=True)
        self.head = linear(self.stack.output_size, BYTE_VOCABULARY_SIZE, randomness)

    def forward(
        self, tokens_bt: Tensor, state: HiddenState | None = None
    ) -> tuple[Tensor, HiddenState]:
        """Scores [B, T, V] of the token after each, and the state after the last."""
        y_bth, end = self.stack(self.embedding(tokens_bt), state)
        logits_btv: Tensor = self.head(self.dropout(y_bth))
        return logits_btv, end


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
