"""Ragged token sequences as one padded batch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rnn.tokenizers import PAD_TOKEN


def pad_tokens(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Tokens [B, T] padded at the end, and the length of each row [B]."""
    lengths = [len(tokens) for tokens in sequences]
    tokens_bt = np.full((len(sequences), max(lengths)), PAD_TOKEN, dtype=np.int64)
    for row, tokens in enumerate(sequences):
        tokens_bt[row, : len(tokens)] = tokens
    return torch.from_numpy(tokens_bt), torch.tensor(lengths)
