"""Lanes with segments of random lengths (those of fixed length: `test_data_order`)."""

import numpy as np
import pytest
import torch

from rnn.generation.lanes import TextLanes


def lanes(tokens: int = 3000, batch_size: int = 3, length: int = 40) -> TextLanes:
    data = np.arange(tokens, dtype=np.int32)
    return TextLanes(data, batch_size, length, random_lengths=True)


@pytest.mark.parametrize("length", [1, 2, 7, 40, 90, 5000])
@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_every_epoch_reads_all_of_each_lane_in_the_same_number_of_segments(
    length: int, epoch: int
) -> None:
    made = lanes(length=length)
    pairs = [made.segment(index, seed=1, epoch=epoch) for index in range(made.segments)]
    assert all(inputs_bt.shape[1] >= 1 for inputs_bt, _ in pairs)
    tokens_bt = torch.cat([inputs_bt for inputs_bt, _ in pairs], dim=1)
    targets_bt = torch.cat([targets_bt for _, targets_bt in pairs], dim=1)
    assert torch.equal(targets_bt, tokens_bt + 1)
    assert torch.equal(tokens_bt.diff(dim=1), torch.ones_like(tokens_bt[:, 1:]))
    assert tokens_bt.numel() > 3000 - 3 - min(length, 3000 - 6) - 3


def test_lengths_are_spread_around_the_chosen_one_and_some_around_its_half() -> None:
    made = lanes(tokens=80_000)
    lengths = np.array(
        [
            made.segment(index, seed=0, epoch=epoch)[0].shape[1]
            for epoch in range(3)
            for index in range(made.segments)
        ]
    )
    assert abs(lengths.mean() - 39) < 1.5
    assert 0.02 < np.mean(lengths < 28) < 0.09
    usual = lengths[lengths >= 28]
    assert abs(usual.mean() - 40) < 1.5
    assert 4 < usual.std() < 6


def test_lengths_follow_seed_and_epoch() -> None:
    def lengths(seed: int, epoch: int) -> list[int]:
        made = lanes()
        return [
            made.segment(index, seed=seed, epoch=epoch)[0].shape[1]
            for index in range(made.segments)
        ]

    assert lengths(0, 0) == lengths(0, 0)
    assert lengths(0, 0) != lengths(0, 1)
    assert lengths(0, 0) != lengths(1, 0)


def test_no_fewer_segments_than_with_fixed_lengths() -> None:
    """What is promised before the tokens are counted holds for both."""
    for tokens in range(10, 400, 7):
        data = np.arange(tokens, dtype=np.int32)
        fixed = TextLanes(data, 2, 20)
        assert TextLanes(data, 2, 20, random_lengths=True).segments >= fixed.segments
