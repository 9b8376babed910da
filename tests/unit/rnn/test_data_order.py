"""Orders, splits and lanes: pure functions of seed and epoch that leave nothing out."""

import numpy as np
import torch

from rnn.classification.padding import pad_tokens
from rnn.data.splits import (
    bucketed_batches,
    drawn_batches,
    stratified_split,
)
from rnn.generation.lanes import TextLanes


def test_bucketed_batches_hold_every_index_once_with_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 500)
    batches = bucketed_batches(lengths, 16, seed=0, epoch=3)
    assert sorted(np.concatenate(batches)) == list(range(500))
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded < 1.15 * lengths.sum()


def test_bucketed_batches_follow_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return list(np.concatenate(bucketed_batches([3] * 50, 4, seed=seed, epoch=epoch)))

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_drawn_batches_repeat_nothing_before_all_came_once() -> None:
    drawn = np.concatenate(drawn_batches(7, 17, 4, seed=0, epoch=0))
    assert len(drawn) == 17
    assert sorted(drawn[:7]) == sorted(drawn[7:14]) == list(range(7))
    assert len(set(drawn[14:])) == 3


def test_stratified_split_takes_from_every_label_and_never_the_only_one() -> None:
    labels = ["a"] * 50 + ["b"] * 10 + ["c"]
    training_n, held_out_n = stratified_split(labels, [str(index) for index in range(61)], 0.2)
    assert sorted([*training_n, *held_out_n]) == list(range(61))
    held_out = [labels[index] for index in held_out_n]
    assert (held_out.count("a"), held_out.count("b"), held_out.count("c")) == (10, 2, 0)


def test_stratified_split_holds_out_the_same_texts_when_the_data_have_grown() -> None:
    def held_out(texts: list[str]) -> set[str]:
        _, held_out_n = stratified_split(["a"] * len(texts), texts, 0.25)
        return {texts[index] for index in held_out_n}

    texts = [f"text {index}" for index in range(400)]
    shuffled = [texts[index] for index in np.random.default_rng(0).permutation(400)]
    assert held_out(shuffled) == held_out(texts)
    grown = held_out([*texts, *(f"new {index}" for index in range(40))])
    assert len(grown & held_out(texts)) >= 90


def test_lanes_read_on_where_they_ended_and_targets_are_the_next_bytes() -> None:
    data = np.arange(200, dtype=np.uint8)
    lanes = TextLanes(data, batch_size=3, segment_length=8)
    inputs = [lanes.segment(index, seed=0, epoch=1) for index in range(lanes.segments)]
    tokens_bt = torch.cat([pair[0] for pair in inputs], dim=1)
    targets_bt = torch.cat([pair[1] for pair in inputs], dim=1)
    assert torch.equal(targets_bt, tokens_bt + 1)
    assert torch.equal(tokens_bt.diff(dim=1), torch.ones_like(tokens_bt[:, 1:]))
    assert tokens_bt.numel() > 200 - 3 - 8 - 3


def test_lanes_begin_elsewhere_in_another_epoch() -> None:
    lanes = TextLanes(np.arange(200, dtype=np.uint8), batch_size=2, segment_length=16)
    starts = {int(lanes.segment(0, seed=0, epoch=epoch)[0][0, 0]) for epoch in range(8)}
    assert len(starts) > 3


def test_the_smallest_text_still_gives_one_segment() -> None:
    lanes = TextLanes(np.arange(4, dtype=np.uint8), batch_size=2, segment_length=50)
    inputs_bt, targets_bt = lanes.segment(0, seed=0, epoch=0)
    assert inputs_bt.tolist() == [[0], [2]]
    assert targets_bt.tolist() == [[1], [3]]


def test_padding_is_at_the_end() -> None:
    tokens_bt, lengths_b = pad_tokens([[5, 6, 7], [8]])
    assert tokens_bt.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert lengths_b.tolist() == [3, 1]
