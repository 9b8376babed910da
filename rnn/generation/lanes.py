"""Batches of one long text: parallel lanes, read segment by segment."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnn.data.splits import epoch_random

TokenArray = NDArray[np.uint8] | NDArray[np.int32]

# Random lengths (Merity et al. 2018): now and then half the length, and some timesteps around it.
_HALF_SHARE = 0.05
_DEVIATION = 5.0
_MEAN = 1 - _HALF_SHARE / 2


class TextLanes:
    """One long text read by B rows at once, each going on where its last segment ended.

    The text is cut into B equal parts; a new random cut each epoch lets segments begin elsewhere.

    Args:
        data: [N] tokens; at least two a lane.
        segment_length: timesteps of a segment; on average where lengths are random.
        random_lengths: segments of an epoch have lengths drawn from its random numbers: a normal
            distribution around the length, in one of twenty around half of it, as Merity et al.
            (2018) draw them. They are then stretched alike to fill the lane with the number of
            segments that is always the same.
    """

    def __init__(
        self,
        data: TokenArray,
        batch_size: int,
        segment_length: int,
        *,
        random_lengths: bool = False,
    ) -> None:
        self._data = data
        self._batch_size = batch_size
        self._segment_length = segment_length
        self._random_lengths = random_lengths
        # The largest cut is taken off every epoch, so that all epochs have equally many segments.
        largest_offset = min(segment_length - 1, len(data) - 2 * batch_size)
        self._offsets = max(largest_offset, 0) + 1
        self._lane_length = (len(data) - self._offsets + 1) // batch_size
        assert self._lane_length >= 2, "checked before"
        targets = self._lane_length - 1
        if random_lengths:
            self.segments = min(targets, int(np.ceil(targets / (_MEAN * segment_length))))
        else:
            self.segments = -(-targets // segment_length)

    def segment(self, index: int, *, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets [B, T] of one segment; the last of an epoch may be shorter."""
        random = epoch_random(seed, epoch)
        offset = int(random.integers(self._offsets))
        start, end = self._bounds(index, random)
        length = self._lane_length
        lanes_bt = self._data[offset : offset + length * self._batch_size].reshape(-1, length)
        tokens_bt = lanes_bt[:, start : end + 1].astype(np.int64)
        return torch.from_numpy(tokens_bt[:, :-1]), torch.from_numpy(tokens_bt[:, 1:])

    def _bounds(self, index: int, random: np.random.Generator) -> tuple[int, int]:
        """First timestep of a segment and the one after its last."""
        targets = self._lane_length - 1
        if not self._random_lengths:
            start = index * self._segment_length
            return start, min(start + self._segment_length, targets)
        halved = random.random(self.segments) < _HALF_SHARE
        mean = np.where(halved, self._segment_length / 2, self._segment_length)
        drawn = np.maximum(random.normal(mean, _DEVIATION), max(2.0, self._segment_length / 8))
        # One timestep is every segment's; the others are shared out as drawn.
        shares = np.cumsum(drawn - 1) / np.sum(drawn - 1)
        shared_out = np.round(shares * (targets - self.segments)).astype(int)
        ends = [0, *(np.arange(1, self.segments + 1) + shared_out).tolist()]
        return ends[index], ends[index + 1]
