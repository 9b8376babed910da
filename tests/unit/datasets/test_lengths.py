"""Lengths in bars of one width."""

from collections import Counter

import numpy as np
import pytest

from service.datasets.lengths import MOST_BARS, length_bars


def test_each_length_that_there_is_room_for_has_a_bar() -> None:
    assert length_bars([3, 5, 3]) == [(3, 3, 2), (4, 4, 0), (5, 5, 1)]
    assert length_bars([7]) == [(7, 7, 1)]
    assert length_bars([]) == []


@pytest.mark.parametrize("longest", [23, 24, 25, 47, 48, 1_000, 1_000_003])
def test_bars_are_of_one_width_and_hold_every_length(longest: int) -> None:
    lengths = np.random.default_rng(0).integers(0, longest + 1, 500)
    lengths[:2] = 0, longest
    bars = length_bars(lengths)
    assert 1 < len(bars) <= MOST_BARS
    assert (bars[0][0], bars[-1][1]) == (0, longest)
    assert len({most - least for least, most, _ in bars[:-1]}) == 1
    counted = Counter(
        index
        for length in lengths.tolist()
        for index, (least, most, _) in enumerate(bars)
        if least <= length <= most
    )
    assert [counted[index] for index in range(len(bars))] == [count for *_, count in bars]
