"""Batches of one long text: parallel lanes, read segment by segment."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnn.data.splits import epoch_random


class TextLanes:
    """One long text read by B rows at once, each going on where its last segment ended.

    The text is cut into B equal parts; a new random cut each epoch lets segments begin elsewhere.
    """

    def __init__(self, data: NDArray[np.uint8], batch_size: int, segment_length: int) -> None:
        self._data = data
        self._batch_size = batch_size
        self._segment_length = segment_length
        # The largest cut is taken off every epoch, so that all epochs have equally many segments.
        largest_offset = min(segment_length - 1, len(data) - 2 * batch_size)
        self._offsets = max(largest_offset, 0) + 1
        self._lane_length = (len(data) - self._offsets + 1) // batch_size
        assert self._lane_length >= 2, "resolved before"
        self.segments = -(-(self._lane_length - 1) // segment_length)

    def segment(self, index: int, *, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets [B, T] of one segment; the last of an epoch may be shorter."""
        offset = int(epoch_random(seed, epoch).integers(self._offsets))
        length = self._lane_length
        lanes_bt = self._data[offset : offset + length * self._batch_size].reshape(-1, length)
        start = index * self._segment_length
        tokens_bt = lanes_bt[:, start : start + self._segment_length + 1].astype(np.int64)
        return torch.from_numpy(tokens_bt[:, :-1]), torch.from_numpy(tokens_bt[:, 1:])
