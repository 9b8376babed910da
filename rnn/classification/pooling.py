"""One vector of a text from the outputs at its timesteps; padding has no say in it."""

import torch
from torch import Tensor, nn

from rnn.config.classification import PoolingName
from rnn.determinism import Randomness
from rnn.linear import linear


class Pooling(nn.Module):
    """The last output, the largest and the mean of each unit, all three, or a mean weighted by
    attention.

    Attributes:
        output_size: width of the vector.
    """

    def __init__(self, kind: PoolingName, input_size: int, randomness: Randomness) -> None:
        super().__init__()
        self.kind = kind
        self.output_size = 3 * input_size if kind == "concatenated" else input_size
        self.attention = Attention(input_size, randomness) if kind == "attention" else None

    def forward(self, y_bth: Tensor, lengths_b: Tensor) -> Tensor:
        """[B, output_size] from outputs [B, T, H] of rows with the given lengths, at least 1."""
        position_t = torch.arange(y_bth.shape[1], device=y_bth.device)
        valid_bt = position_t < lengths_b[:, None]
        if self.attention is not None:
            attended_bh: Tensor = self.attention(y_bth, valid_bt)
            return attended_bh
        pooled = []
        if self.kind in ("last", "concatenated"):
            pooled.append(y_bth[torch.arange(len(y_bth), device=y_bth.device), lengths_b - 1])
        if self.kind in ("max", "concatenated"):
            pooled.append(y_bth.masked_fill(~valid_bt[:, :, None], -torch.inf).amax(dim=1))
        if self.kind in ("mean", "concatenated"):
            total_bh = y_bth.masked_fill(~valid_bt[:, :, None], 0).sum(dim=1)
            pooled.append(total_bh / lengths_b[:, None])
        return torch.cat(pooled, dim=1)


class Attention(nn.Module):
    """A mean of outputs weighted by how well each answers one learned query (Yang et al. 2016)."""

    def __init__(self, input_size: int, randomness: Randomness) -> None:
        super().__init__()
        self.key = linear(input_size, input_size, randomness)
        # Zero: it starts as the plain mean.
        self.query_h = nn.Parameter(torch.zeros(input_size))

    def forward(self, y_bth: Tensor, valid_bt: Tensor) -> Tensor:
        """[B, H] from outputs [B, T, H] and where a row has its own timesteps."""
        own_bth = y_bth.masked_fill(~valid_bt[:, :, None], 0)  # 0 times not-a-number is none
        scores_bt = torch.tanh(self.key(own_bth)) @ self.query_h
        weights_bt = scores_bt.masked_fill(~valid_bt, -torch.inf).softmax(dim=1)
        return (weights_bt[:, None] @ own_bth)[:, 0]
