"""Convolutions over time before the recurrent layers: local shapes, and fewer timesteps."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnn.config import ConvolutionConfig
from rnn.determinism import Randomness


class ConvolutionFront(nn.Module):
    """Convolutions over time, each followed by a rectifier and, where chosen, max-pooling.

    Every filter stands over its own timestep, and the sequence goes on as zeros at both of its ends
    (an even filter sees one timestep more after its own than before it). A row's outputs depend
    neither on what lies on its padding nor on how much of it there is.

    Attributes:
        output_size: channels of the outputs.
    """

    def __init__(self, config: ConvolutionConfig, input_size: int, randomness: Randomness) -> None:
        super().__init__()
        self.pooling = config.pooling
        self.output_size = config.channels
        before = (config.kernel_size - 1) // 2
        self.margins = (before, config.kernel_size - 1 - before)
        self.convolutions = nn.ModuleList()
        channels = input_size
        for _ in range(config.num_layers):
            convolution = nn.Conv1d(channels, config.channels, config.kernel_size)
            # Keeps the variance through rectifiers (He et al. 2015).
            nn.init.kaiming_uniform_(
                convolution.weight, nonlinearity="relu", generator=randomness.weights
            )
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)
            self.convolutions.append(convolution)
            channels = config.channels

    def pooled(self, lengths_b: Tensor) -> Tensor:
        """The timesteps that are left of rows of such lengths."""
        for _ in self.convolutions:
            lengths_b = _shortened(lengths_b, self.pooling)
        return lengths_b

    def forward(
        self, x_btd: Tensor, lengths_b: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Outputs [B, T', channels], zero on padding, and the rows' lengths among them.

        Args:
            x_btd: [B, T, D], rows padded at the end; padding may be anything.
            lengths_b: timesteps of each row, at least one; None: all T.

        Returns:
            With pooling by p, T' is T / p rounded up, after each layer; so is each length.
        """
        dtype = x_btd.dtype
        x_bct = _without_padding(x_btd.transpose(1, 2), lengths_b)
        for convolution in self.convolutions:
            x_bct = functional.relu(convolution(functional.pad(x_bct, self.margins)))
            # Zero is no larger than anything that a rectifier lets through: padding wins no pool.
            x_bct = _without_padding(x_bct, lengths_b)
            if self.pooling > 1:
                x_bct = functional.max_pool1d(x_bct, self.pooling, ceil_mode=True)
                if lengths_b is not None:
                    lengths_b = _shortened(lengths_b, self.pooling)
        # Autocast rounds the products; the recurrences take the type of the inputs.
        return x_bct.transpose(1, 2).to(dtype), lengths_b


def _shortened(lengths_b: Tensor, pooling: int) -> Tensor:
    return (lengths_b + pooling - 1) // pooling


def _without_padding(x_bct: Tensor, lengths_b: Tensor | None) -> Tensor:
    if lengths_b is None:
        return x_bct
    padding_bt = torch.arange(x_bct.shape[2], device=x_bct.device) >= lengths_b[:, None]
    return x_bct.masked_fill(padding_bt[:, None, :], 0)
