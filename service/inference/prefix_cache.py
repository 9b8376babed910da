"""Texts that were read before: hidden states after their prefixes, so that they are read once.

A recurrent state has a fixed size, so the state after any prefix is a small snapshot. Snapshots are
taken where a prompt is a whole number of blocks long, and at its end. A key is a digest of all
tokens up to there that nobody can find two prefixes for; each block's continues the one before it,
so all of a prompt's keys are one walk over it. They are looked for from the longest down.

The text of a session is read up to its last token between two steps; what that one gives is kept
here, too, by a digest of the session's state, until the next step takes it.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
from torch import Tensor

from rnn.generation.predictor import Generator
from rnn.state import HiddenState

BLOCK_TOKENS = 256


@dataclass(frozen=True)
class Prefix:
    """The first `tokens` of a prompt; `key` stands for all of them."""

    tokens: int
    key: bytes


@dataclass(frozen=True)
class Snapshot:
    """What a network made of a prefix: the scores [V] of the next token, and the state of one row.
    Nobody writes to either."""

    logits_v: Tensor
    state: HiddenState

    @property
    def size_bytes(self) -> int:
        tensors = [self.logits_v, self.state.hidden_lbh, self.state.memory_lbm]
        return sum(t.untyped_storage().nbytes() for t in tensors if t is not None)


def prefixes(tokens: Sequence[int], owner: str) -> list[Prefix]:
    """The prefixes of a prompt that have snapshots, shortest first; the last one is all of it.

    Those of one owner are none of another's: how long a prompt takes shall not tell what somebody
    else has asked.
    """
    data = np.array(tokens, dtype="<i4")
    ends = [*range(BLOCK_TOKENS, len(tokens), BLOCK_TOKENS), len(tokens)]
    digest = hashlib.sha256(hashlib.sha256(owner.encode()).digest())
    found, begin = [], 0
    for end in ends:
        digest.update(data[begin:end].tobytes())
        found.append(Prefix(end, digest.digest()))
        begin = end
    return found


def state_key(state: bytes) -> bytes:
    """Of what follows the text of a session; no prompt's, whose keys are shorter."""
    return b"session " + hashlib.sha256(state).digest()


@dataclass
class _Kept:
    snapshot: Snapshot
    used: int  # the newest use is the highest number


@dataclass
class _Network:
    """The snapshots of one network by their keys, the least recently used first."""

    kept: OrderedDict[bytes, _Kept] = field(default_factory=OrderedDict)
    size_bytes: int = 0

    def drop(self, key: bytes) -> None:
        self.size_bytes -= self.kept.pop(key).snapshot.size_bytes


class PrefixCache:
    """Snapshots of all networks in at most `max_bytes`; the least recently used make room.

    A network's snapshots leave the memory with the network itself.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._networks: WeakKeyDictionary[Generator, _Network] = WeakKeyDictionary()
        self._uses = 0

    @property
    def keeps(self) -> bool:
        """Whether there is room for anything at all."""
        return self._max_bytes > 0

    @property
    def size_bytes(self) -> int:
        return sum(network.size_bytes for network in list(self._networks.values()))

    def longest(self, model: Generator, wanted: Sequence[Prefix]) -> tuple[Prefix, Snapshot] | None:
        """The longest of a prompt's prefixes that the network has read, if it has read any."""
        network = self._networks.get(model)
        if network is None:
            return None
        for prefix in reversed(wanted):
            kept = network.kept.get(prefix.key)
            if kept is not None:
                self._uses += 1
                kept.used = self._uses
                network.kept.move_to_end(prefix.key)
                return prefix, kept.snapshot
        return None

    def take(self, model: Generator, key: bytes) -> Snapshot | None:
        """What is kept under a key, and is no longer."""
        network = self._networks.get(model)
        kept = None if network is None else network.kept.get(key)
        if network is None or kept is None:
            return None
        network.drop(key)
        return kept.snapshot

    def store(self, model: Generator, key: bytes, snapshot: Snapshot) -> None:
        """Keeps a snapshot, unless it alone is too large."""
        if snapshot.size_bytes > self._max_bytes:
            return
        network = self._networks.setdefault(model, _Network())
        if key in network.kept:
            network.drop(key)
        while self.size_bytes + snapshot.size_bytes > self._max_bytes:
            self._drop_oldest()
        self._uses += 1
        network.kept[key] = _Kept(snapshot, self._uses)
        network.size_bytes += snapshot.size_bytes

    def _drop_oldest(self) -> None:
        filled = [network for network in list(self._networks.values()) if network.kept]
        oldest = min(filled, key=lambda network: next(iter(network.kept.values())).used)
        oldest.drop(next(iter(oldest.kept)))
