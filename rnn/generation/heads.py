"""From the stack's outputs to the distribution of the next token."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from rnn.config import GenerationArchitecture
from rnn.determinism import Randomness
from rnn.generation.cross_entropy import linear_cross_entropy, rows_per_chunk
from rnn.generation.sizes import ADAPTIVE_DIVISOR, adaptive_cutoffs


class Head(nn.Module):
    """What every head can do with outputs [N, H]."""

    def scores(self, y_nh: Tensor) -> Tensor:
        """[N, V]; their softmax is the distribution."""
        raise NotImplementedError

    def mean_loss(self, y_nh: Tensor, targets_n: Tensor) -> Tensor:
        """The mean of -log p(target), for training: little is kept for the backward pass."""
        raise NotImplementedError

    def linear(self) -> nn.Linear | None:
        """One linear map to the scores, for faster kernels; None where there is none."""
        return None


class FullSoftmax(nn.Linear, Head):
    """One vector and bias a token."""

    def __init__(self, input_size: int, vocabulary_size: int, randomness: Randomness) -> None:
        super().__init__(input_size, vocabulary_size)
        _initialise(self, randomness)

    def scores(self, y_nh: Tensor) -> Tensor:
        return functional.linear(y_nh, self.weight, self.bias)

    def mean_loss(self, y_nh: Tensor, targets_n: Tensor) -> Tensor:
        return linear_cross_entropy(y_nh, self.weight, self.bias, targets_n)

    def linear(self) -> nn.Linear:
        return self


class TiedSoftmax(Head):
    """The embedding's vectors once more, behind a projection where the widths differ (Inan et al.
    2017; Press and Wolf 2017)."""

    def __init__(self, embedding: nn.Embedding, input_size: int, randomness: Randomness) -> None:
        super().__init__()
        self.projection = None
        if input_size != embedding.embedding_dim:
            self.projection = _projection(input_size, embedding.embedding_dim, randomness)
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))
        self._embedding = (embedding,)  # in a tuple: its weight is the network's, and saved once

    def _projected(self, y_nh: Tensor) -> Tensor:
        if self.projection is None:
            return y_nh
        y_ne: Tensor = self.projection(y_nh)
        return y_ne

    def scores(self, y_nh: Tensor) -> Tensor:
        return functional.linear(self._projected(y_nh), self._embedding[0].weight, self.bias)

    def mean_loss(self, y_nh: Tensor, targets_n: Tensor) -> Tensor:
        weight = self._embedding[0].weight
        return linear_cross_entropy(self._projected(y_nh), weight, self.bias, targets_n)

    @torch.no_grad()
    def linear(self) -> nn.Linear:
        weight = self._embedding[0].weight
        if self.projection is not None:
            weight = nn.Parameter(weight @ self.projection.weight)
        result = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        result.weight, result.bias = weight, self.bias
        return result


class MixtureOfSoftmaxes(Head):
    """A weighted mean of K distributions, each from its own view of the outputs: no longer limited
    in rank by the width of the vectors (Yang et al. 2018, "Breaking the Softmax Bottleneck")."""

    def __init__(
        self,
        vectors: FullSoftmax | TiedSoftmax,
        size: int,
        input_size: int,
        components: int,
        randomness: Randomness,
    ) -> None:
        super().__init__()
        self.prior = _projection(input_size, components, randomness)
        self.views = nn.Linear(input_size, components * size)
        _initialise(self.views, randomness)
        self.vectors = vectors
        self._components = components

    def scores(self, y_nh: Tensor) -> Tensor:
        rows, dtype = len(y_nh), self.prior.weight.dtype  # logarithms are not taken in bfloat16
        weight_nk1 = torch.log_softmax(self.prior(y_nh).to(dtype), dim=1).unsqueeze(2)
        view_me = torch.tanh(self.views(y_nh)).view(rows * self._components, -1)
        scores_nkv = self.vectors.scores(view_me).to(dtype).view(rows, self._components, -1)
        return torch.logsumexp(torch.log_softmax(scores_nkv, dim=2) + weight_nk1, dim=1)

    def mean_loss(self, y_nh: Tensor, targets_n: Tensor) -> Tensor:
        size = rows_per_chunk(self._components * len(self.vectors.bias))
        losses = [
            checkpoint(
                self._loss_sum, y_rows, target_rows, use_reentrant=False, preserve_rng_state=False
            )
            for y_rows, target_rows in zip(
                torch.split(y_nh, size), torch.split(targets_n, size), strict=True
            )
        ]
        return torch.stack(losses).sum() / len(y_nh)

    def _loss_sum(self, y_nh: Tensor, targets_n: Tensor) -> Tensor:
        return functional.nll_loss(self.scores(y_nh), targets_n, reduction="sum")


class AdaptiveSoftmax(nn.AdaptiveLogSoftmaxWithLoss, Head):
    """Frequent tokens together with the groups of the others, each group with smaller vectors
    (Grave et al. 2017, "Efficient softmax approximation for GPUs"). Token 0 is the most frequent.
    """

    def __init__(self, input_size: int, vocabulary_size: int, randomness: Randomness) -> None:
        cutoffs = adaptive_cutoffs(vocabulary_size)
        super().__init__(input_size, vocabulary_size, cutoffs, div_value=ADAPTIVE_DIVISOR)
        for parameter in self.parameters():
            nn.init.xavier_uniform_(parameter, generator=randomness.weights)

    def scores(self, y_nh: Tensor) -> Tensor:
        return self.log_prob(y_nh)

    def mean_loss(self, y_nh: Tensor, targets_n: Tensor) -> Tensor:
        # Torch's writes into one tensor what comes in two precisions under autocast.
        with torch.autocast(y_nh.device.type, enabled=False):
            loss: Tensor = self(y_nh.to(self.head.weight.dtype), targets_n).loss
        return loss


def make_head(
    config: GenerationArchitecture, embedding: nn.Embedding, input_size: int, randomness: Randomness
) -> Head:
    """The head that an architecture asks for, over the embedding's vocabulary."""
    vocabulary, size = embedding.num_embeddings, embedding.embedding_dim
    if config.softmax == "adaptive":
        return AdaptiveSoftmax(input_size, vocabulary, randomness)
    width = size if config.softmax == "mixture" else input_size
    vectors = (
        TiedSoftmax(embedding, width, randomness)
        if config.tied
        else FullSoftmax(width, vocabulary, randomness)
    )
    if config.softmax == "full":
        return vectors
    return MixtureOfSoftmaxes(vectors, size, input_size, config.mixture_components, randomness)


def _initialise(layer: nn.Linear, randomness: Randomness) -> None:
    """Weights by the number of inputs alone (LeCun et al. 1998): with many tokens Xavier's, and
    with them the gradients that reach the stack, would be too small to learn from."""
    bound = (3 / layer.in_features) ** 0.5
    nn.init.uniform_(layer.weight, -bound, bound, generator=randomness.weights)
    nn.init.zeros_(layer.bias)


def _projection(inputs: int, outputs: int, randomness: Randomness) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.xavier_uniform_(layer.weight, generator=randomness.weights)
    return layer
