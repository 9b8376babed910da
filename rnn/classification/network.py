"""The classification network: words, a recurrent stack, one vector a text, label scores."""

import torch
from torch import Tensor, nn

from rnn.config import ClassificationConfig
from rnn.determinism import Randomness
from rnn.dropout import Dropout
from rnn.linear import linear
from rnn.stack import RecurrentStack


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


class ClassificationHead(nn.Module):
    """Label scores from the last output, the largest and the mean over a text's own timesteps."""

    def __init__(
        self, input_size: int, labels: int, dropout: float, randomness: Randomness
    ) -> None:
        super().__init__()
        self.dropout = Dropout(dropout, randomness.dropout)
        self.out = linear(3 * input_size, labels, randomness)

    def forward(self, y_bth: Tensor, lengths_b: Tensor) -> Tensor:
        """[B, labels] from outputs [B, T, H] of rows with the given lengths."""
        position_t = torch.arange(y_bth.shape[1], device=y_bth.device)
        valid_bt1 = (position_t < lengths_b[:, None])[:, :, None]
        last_bh = y_bth[torch.arange(len(y_bth), device=y_bth.device), lengths_b - 1]
        largest_bh = y_bth.masked_fill(~valid_bt1, -torch.inf).amax(dim=1)
        mean_bh = y_bth.masked_fill(~valid_bt1, 0).sum(dim=1) / lengths_b[:, None]
        pooled = self.dropout(torch.cat([last_bh, largest_bh, mean_bh], dim=1))
        logits_bc: Tensor = self.out(pooled)
        return logits_bc
