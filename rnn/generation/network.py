"""The language model: tokens, a recurrent stack, scores of the next token."""

from torch import Tensor, nn

from rnn.config import BYTE_VOCABULARY_SIZE, GenerationConfig
from rnn.determinism import Randomness
from rnn.dropout import Dropout
from rnn.linear import linear
from rnn.stack import RecurrentStack
from rnn.state import HiddenState


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
