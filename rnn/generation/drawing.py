"""From weights to tokens: what may be drawn, and numbers that are a function of seed and place.

Every sum runs along one row, in an order that the rows beside it do not change.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Scores: TypeAlias = NDArray[np.float32]
Counters: TypeAlias = NDArray[np.uint64]

ALL = np.iinfo(np.int64).max  # a top_k that leaves every token in

_RANKED = 64  # so many of the best tokens are sorted first, and eight times as many while in vain

# Steele, Lea and Flood 2014 ("Fast splittable pseudorandom number generators"): a number of a
# stream is a hash of its counter, which advances by the same amount each time.
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)
_UNUSED_BITS = np.uint64(11)  # a float64 holds the other 53
_FOR_SEED_0 = 2**64 - 1  # the hash leaves 0 where it is, and a first number of 0 is an extreme
_BELOW_ONE = 1 - 2.0**-53


def first_counters(seeds: Sequence[int], drawn: Sequence[int]) -> Counters:
    """Where the streams of these seeds are after so many numbers; those of neighbouring seeds begin
    far apart."""
    seeds_b = np.array([seed % 2**64 or _FOR_SEED_0 for seed in seeds], np.uint64)
    return _hashed(seeds_b) + np.array(drawn, np.uint64) * _GAMMA


def advance(counters_b: Counters) -> None:
    """One number further, in place."""
    counters_b += _GAMMA


def uniform(counters_b: Counters) -> NDArray[np.float64]:
    """The number of each stream at its counter, from 0 to below 1."""
    numbers_b: NDArray[np.float64] = (_hashed(counters_b) >> _UNUSED_BITS) * np.float64(2.0**-53)
    return numbers_b


def _hashed(x: Counters) -> Counters:
    x = (x ^ (x >> _SHIFTS[0])) * _FACTORS[0]
    x = (x ^ (x >> _SHIFTS[1])) * _FACTORS[1]
    return x ^ (x >> _SHIFTS[2])


def log_softmax(scores_bv: Scores) -> Scores:
    below_bv = below_best(scores_bv)
    below_bv -= np.log(np.add.reduce(np.exp(below_bv), axis=1, keepdims=True))
    return below_bv


def below_best(scores_bv: Scores) -> Scores:
    """Scores less the best one of their row."""
    return scores_bv - np.maximum.reduce(scores_bv, axis=1, keepdims=True)


def likeliest(logprobs_v: NDArray[np.floating], count: int) -> tuple[tuple[int, float], ...]:
    """The best tokens with their log-probabilities, best first, of equal ones the lower token."""
    size = len(logprobs_v)
    count = min(count, size)
    if not count:
        return ()
    last = np.partition(logprobs_v, size - count)[size - count]
    tokens = np.flatnonzero(logprobs_v >= last)
    tokens = tokens[np.argsort(-logprobs_v[tokens], kind="stable")][:count]
    return tuple(zip(tokens.tolist(), logprobs_v[tokens].tolist(), strict=True))


class Filters:
    """Which tokens each row may draw.

    Args:
        top_k_b: ALL: every token.
        top_p_b: 1: every token.
        min_p_b: 0: every token.
    """

    def __init__(
        self,
        top_k_b: NDArray[np.int64],
        top_p_b: NDArray[np.float64],
        min_p_b: NDArray[np.float64],
    ) -> None:
        self._min_p_b = min_p_b.astype(np.float32)
        self._ranked = np.flatnonzero((top_k_b < ALL) | (top_p_b < 1))
        self._top_k_f = top_k_b[self._ranked]
        self._top_p_f = top_p_b[self._ranked]
        self._columns = max([_RANKED, *self._top_k_f[self._top_k_f < ALL].tolist()])
        self._any = bool(len(self._ranked) or (min_p_b > 0).any())

    def apply(self, weights_bv: Scores, room_bv: Scores) -> None:
        """Sets the weights of all other tokens to zero; the best token always stays.

        Args:
            weights_bv: 1 for the best token of each row.
            room_bv: to sort them in; what it holds is lost. New memory would take more time.
        """
        if not self._any:
            return
        lowest_b = self._min_p_b
        if len(self._ranked):
            rows: NDArray[np.intp] | slice = self._ranked
            if len(self._ranked) == len(lowest_b):
                rows = slice(None)
                np.copyto(room_bv, weights_bv)
            else:
                room_bv = weights_bv[rows]
            total_f = np.add.reduce(weights_bv[rows], axis=1)
            together_f = np.where(self._top_p_f < 1, self._top_p_f * total_f, np.inf)
            lowest_f = _lowest(room_bv, self._top_k_f, together_f, self._columns)
            lowest_b = lowest_b.copy()
            lowest_b[rows] = np.maximum(lowest_b[rows], lowest_f)
        np.multiply(weights_bv, weights_bv >= lowest_b[:, None], out=weights_bv)


def _lowest(
    weights_fv: Scores, top_k_f: NDArray[np.int64], together_f: NDArray[np.float64], columns: int
) -> Scores:
    """The lowest of the best `top_k_f` weights, or of those that are enough to reach `together_f`.

    Args:
        weights_fv: are brought into another order.
        columns: so many of the best are sorted, more only where that is not enough to reach it.
    """
    vocabulary = weights_fv.shape[1]
    columns = min(columns, vocabulary)
    if columns < vocabulary:
        weights_fv.partition(vocabulary - columns, axis=1)
    best_fc = np.sort(weights_fv[:, vocabulary - columns :], axis=1)[:, ::-1]
    upto_fc = np.add.accumulate(best_fc, axis=1, dtype=np.float64)
    kept_f = 1 + np.count_nonzero(upto_fc < together_f[:, None], axis=1)
    kept_f = np.minimum(kept_f, top_k_f)
    lowest_f: Scores = best_fc[np.arange(len(best_fc)), np.minimum(kept_f, columns) - 1]
    short = np.flatnonzero(kept_f > columns)
    if len(short) and columns < vocabulary:
        lowest_f[short] = _lowest(weights_fv[short], top_k_f[short], together_f[short], 8 * columns)
    return lowest_f


def draw(below_bv: Scores, filters: Filters, uniform_b: NDArray[np.float64]) -> NDArray[np.intp]:
    """A token for each row, by the inverse of its cumulative distribution.

    Weights are summed in blocks, then the blocks: little error, and little time.

    Args:
        below_bv: scores less the best one, divided by the temperature; what it holds is lost.
    """
    rows, vocabulary = below_bv.shape
    size = 1 << (vocabulary.bit_length() + 1) // 2
    weights_bnk = np.zeros((rows, -(-vocabulary // size), size), np.float32)  # zero past the end
    weights_bv = weights_bnk.reshape(rows, -1)[:, :vocabulary]
    np.exp(below_bv, out=weights_bv)
    filters.apply(weights_bv, below_bv)
    weight_bn = np.add.reduce(weights_bnk, axis=2)
    upto_bn = np.add.accumulate(weight_bn, axis=1, dtype=np.float64)
    target_b = uniform_b * upto_bn[:, -1]
    block_b = _first_above(upto_bn, target_b)
    row_b = np.arange(rows)
    target_b -= upto_bn[row_b, block_b] - weight_bn[row_b, block_b]
    within_bk = np.add.accumulate(weights_bnk[row_b, block_b], axis=1, dtype=np.float64)
    # Rounding must not lead out of the block: between no weight and all of it there is a token.
    target_b = np.maximum(np.minimum(target_b, within_bk[:, -1] * _BELOW_ONE), 0)
    token_b: NDArray[np.intp] = block_b * size + _first_above(within_bk, target_b)
    return token_b


def _first_above(rising_bn: NDArray[np.float64], target_b: NDArray[np.float64]) -> NDArray[np.intp]:
    place_b: NDArray[np.intp] = (rising_bn > target_b[:, None]).argmax(axis=1)
    return place_b
