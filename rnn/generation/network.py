"""The language model: tokens, a recurrent stack, the distribution of the next token."""

import torch
from torch import Tensor, nn

from rnn.config import BYTE_VOCABULARY_SIZE, GenerationConfig
from rnn.determinism import Randomness
from rnn.generation.cross_entropy import rows_per_chunk
from rnn.generation.heads import make_head
from rnn.probe import Probe
from rnn.stack import RecurrentStack
from rnn.state import HiddenState


class GenerationNetwork(nn.Module):
    """Tokens to scores of the next one, going on from a hidden state."""

    def __init__(
        self,
        config: GenerationConfig,
        randomness: Randomness,
        vocabulary_size: int = BYTE_VOCABULARY_SIZE,
    ) -> None:
        super().__init__()
        architecture = config.architecture
        self.embedding = nn.Embedding(vocabulary_size, architecture.embedding_size)
        # To be read, vectors are best of unit size in each direction; to be multiplied with the
        # outputs, of unit length. Tied ones are between the two.
        deviation = architecture.embedding_size**-0.25 if architecture.tied else 1.0
        nn.init.normal_(self.embedding.weight, std=deviation, generator=randomness.weights)
        self._embedding_dropout = architecture.embedding_dropout
        self._masks = randomness.dropout
        self.stack = RecurrentStack(architecture, architecture.embedding_size, randomness)
        self.head = make_head(architecture, self.embedding, self.stack.output_size, randomness)

    def forward(
        self, tokens_bt: Tensor, state: HiddenState | None = None
    ) -> tuple[Tensor, HiddenState]:
        """Scores [B, T, V] of the token after each, and the state after the last."""
        y_bth, end = self.outputs(tokens_bt, state)
        scores_nv = self.head.scores(y_bth.flatten(0, 1))
        return scores_nv.view(*tokens_bt.shape, -1), end

    def outputs(
        self, tokens_bt: Tensor, state: HiddenState | None = None, *, probe: Probe | None = None
    ) -> tuple[Tensor, HiddenState]:
        """What the stack makes of tokens [B, T, H], and the state after the last."""
        y_bth, end = self.stack(self._embedded(tokens_bt), state, probe=probe)
        return y_bth, end

    def mean_loss(self, y_bth: Tensor, targets_bt: Tensor) -> Tensor:
        """The mean of -log p(target) over all outputs, for training."""
        return self.head.mean_loss(y_bth.flatten(0, 1), targets_bt.flatten())

    @torch.no_grad()
    def losses(self, y_bth: Tensor, targets_bt: Tensor) -> Tensor:
        """-log p(target) [B, T] at each output, without gradients."""
        y_nh, targets_n = y_bth.flatten(0, 1), targets_bt.flatten()
        size = rows_per_chunk(self.embedding.num_embeddings)
        losses = [
            -torch.log_softmax(self.head.scores(y_rows), dim=1).gather(1, target_rows[:, None])
            for y_rows, target_rows in zip(
                torch.split(y_nh, size), torch.split(targets_n, size), strict=True
            )
        ]
        return torch.cat(losses).reshape(targets_bt.shape)

    def _embedded(self, tokens_bt: Tensor) -> Tensor:
        """Vectors [B, T, E]; while training whole tokens are dropped, each at all its places in the
        batch or at none (Gal and Ghahramani 2016)."""
        x_bte: Tensor = self.embedding(tokens_bt)
        if not self.training or self._embedding_dropout == 0:
            return x_bte
        keep = 1 - self._embedding_dropout
        mask_v = torch.empty(self.embedding.num_embeddings, device=x_bte.device, dtype=x_bte.dtype)
        mask_v.bernoulli_(keep, generator=self._masks).div_(keep)
        return x_bte * mask_v[tokens_bt].unsqueeze(2)
