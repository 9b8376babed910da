"""The classification network: tokens, a recurrent stack, one vector a text, label scores."""

from torch import Tensor, nn

from rnn.classification.pooling import Pooling
from rnn.config import ClassificationConfig
from rnn.convolution import ConvolutionFront
from rnn.determinism import Randomness
from rnn.dropout import Dropout
from rnn.linear import linear
from rnn.probe import Probe
from rnn.stack import RecurrentStack


class ClassificationNetwork(nn.Module):
    """Tokens to label scores."""

    def __init__(
        self,
        config: ClassificationConfig,
        vocabulary_size: int,
        labels: int,
        randomness: Randomness,
    ) -> None:
        super().__init__()
        architecture = config.architecture
        size = architecture.embedding_size
        self.embedding = nn.Embedding(vocabulary_size, size)
        # Small, or the random vectors of rare tokens drown what is learned about frequent ones.
        nn.init.normal_(self.embedding.weight, std=0.1, generator=randomness.weights)
        self.embedding_dropout = Dropout(architecture.embedding_dropout, randomness.dropout)
        self.convolution: ConvolutionFront | None = None
        if architecture.convolution is not None:
            self.convolution = ConvolutionFront(architecture.convolution, size, randomness)
            size = self.convolution.output_size
        self.stack = RecurrentStack(
            architecture,
            size,
            randomness,
            bidirectional=architecture.bidirectional,
            output_dropout=0.0,  # the head drops from the text's vector
        )
        self.head = ClassificationHead(config, self.stack.output_size, labels, randomness)

    def forward(self, tokens_bt: Tensor, lengths_b: Tensor, probe: Probe | None = None) -> Tensor:
        """[B, labels] scores; padding beyond a row's length is never read."""
        return self.scores(self.vectors(tokens_bt), lengths_b, probe)

    def scores(self, x_btd: Tensor, lengths_b: Tensor, probe: Probe | None = None) -> Tensor:
        """Likewise, of the tokens' vectors."""
        x_btd, lengths_b = self._convolved(x_btd, lengths_b)
        ragged_b = None if probe is not None else lengths_b
        y_bth, _ = self.stack(x_btd, lengths_b=ragged_b, state_wanted=False, probe=probe)
        logits_bc: Tensor = self.head(y_bth, lengths_b)
        return logits_bc

    def output_lengths(self, lengths_b: Tensor) -> Tensor:
        """How many outputs of the stack rows of such lengths have."""
        return lengths_b if self.convolution is None else self.convolution.pooled(lengths_b)

    def stack_inputs(self, tokens_bt: Tensor, lengths_b: Tensor) -> tuple[Tensor, Tensor]:
        """What the stack reads [B, T', D] of tokens, and the rows' lengths among it."""
        return self._convolved(self.vectors(tokens_bt), lengths_b)

    def vectors(self, tokens_bt: Tensor) -> Tensor:
        """[B, T, D] of tokens."""
        x_btd: Tensor = self.embedding(tokens_bt)
        if self.training and self.embedding_dropout.rate:
            # Whole tokens: their vectors are left out together (Iyyer et al. 2015).
            x_btd = x_btd * self.embedding_dropout(x_btd.new_ones(*tokens_bt.shape, 1))
        return x_btd

    def _convolved(self, x_btd: Tensor, lengths_b: Tensor) -> tuple[Tensor, Tensor]:
        if self.convolution is None:
            return x_btd, lengths_b
        y_btd, pooled_b = self.convolution(x_btd, lengths_b)
        assert pooled_b is not None
        return y_btd, pooled_b


class ClassificationHead(nn.Module):
    """Label scores from one vector a text."""

    def __init__(
        self, config: ClassificationConfig, input_size: int, labels: int, randomness: Randomness
    ) -> None:
        super().__init__()
        architecture = config.architecture
        self.pooling = Pooling(architecture.pooling, input_size, randomness)
        self.dropout = Dropout(architecture.output_dropout, randomness.dropout)
        self.out = linear(self.pooling.output_size, labels, randomness)

    def forward(self, y_bth: Tensor, lengths_b: Tensor) -> Tensor:
        """[B, labels] from outputs [B, T, H] of rows with the given lengths."""
        logits_bc: Tensor = self.out(self.dropout(self.pooling(y_bth, lengths_b)))
        return logits_bc
