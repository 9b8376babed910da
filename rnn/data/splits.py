"""Which examples are learned from and which are held out, and in what order they come.

Every order is a pure function of the seed and the epoch, so that a resumed training goes on with
the very batches that it would have seen. What is held out depends on the examples alone.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

_POOL_BATCHES = 32  # batches sorted by length together: short padding, yet new batches every epoch


def epoch_random(seed: int, epoch: int) -> np.random.Generator:
    """The random numbers of one epoch's order."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))


def bucketed_batches(
    lengths: Sequence[int], batch_size: int, *, seed: int, epoch: int
) -> list[IntArray]:
    """All indices in random batches of similar lengths, in random order."""
    random = epoch_random(seed, epoch)
    length_n = np.asarray(lengths)
    order = random.permutation(len(length_n))
    batches = []
    pool_size = batch_size * _POOL_BATCHES
    for start in range(0, len(order), pool_size):
        pool = order[start : start + pool_size]
        pool = pool[np.argsort(length_n[pool], kind="stable")]
        batches += [pool[at : at + batch_size] for at in range(0, len(pool), batch_size)]
    return [batches[index] for index in random.permutation(len(batches))]


def drawn_batches(
    available: int, wanted: int, batch_size: int, *, seed: int, epoch: int
) -> list[IntArray]:
    """`wanted` of the available indices, none twice before all came once, cut into batches."""
    random = epoch_random(seed, epoch)
    rounds, rest = divmod(wanted, available)
    drawn = [random.permutation(available) for _ in range(rounds)]
    drawn.append(random.choice(available, size=rest, replace=False))
    order = np.concatenate(drawn)
    return [order[start : start + batch_size] for start in range(0, wanted, batch_size)]


def stratified_split(
    labels: Sequence[str], texts: Sequence[str], fraction: float
) -> tuple[IntArray, IntArray]:
    """Training and held-out indices; each label gives its share to the held-out part, at least one
    example and never its only one.

    Which texts are held out depends on the texts alone, and on nothing that was drawn: what one
    training held out, a later one that goes on from its weights holds out too, also of a data set
    that has grown.
    """
    label_n = np.asarray(labels)
    rank_n = np.array([_rank(text) for text in texts], dtype=np.uint64)
    held_out = []
    for label in np.unique(label_n):
        members = np.flatnonzero(label_n == label)
        members = members[np.argsort(rank_n[members], kind="stable")]
        count = min(max(1, round(len(members) * fraction)), len(members) - 1)
        held_out.append(members[:count])
    held_out_n = np.sort(np.concatenate(held_out))
    training_n = np.setdiff1d(np.arange(len(label_n)), held_out_n)
    return training_n, held_out_n


def _rank(text: str) -> int:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")
