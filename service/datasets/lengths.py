"""How long the series or texts of a file are, counted in bars."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_BARS = 24


def length_bars(lengths: Sequence[int] | NDArray[np.integer]) -> list[tuple[int, int, int]]:
    """At most `MOST_BARS` bars of one width, from the shortest length to the longest.

    Returns for each bar its least and its greatest length, and how many lie between them, both ends
    counted in; nothing for no lengths.
    """
    if len(lengths) == 0:
        return []
    each = np.asarray(lengths, dtype=np.int64)
    shortest, longest = int(each.min()), int(each.max())
    width = (longest - shortest) // MOST_BARS + 1
    counts = np.bincount((each - shortest) // width).tolist()
    starts = range(shortest, longest + 1, width)
    return [
        (start, min(start + width - 1, longest), count)
        for start, count in zip(starts, counts, strict=True)
    ]
