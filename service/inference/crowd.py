"""Where many wait at once, what they get keeps a core busy by itself: messages, JSON, sockets.

Kernel threads on all cores wait for each other at every layer, all of them for the one whose core
passes on answers, and burn theirs meanwhile.
"""

import os
from typing import Final

CROWD: Final = 8  # texts that are generated together
LARGE: Final = 1 << 23
"""Multiplications for a token from which a network takes so long that all cores are worth it
(docs/decisions/0022-tokens-beside-steps.md)."""


def threads_beside(threads: int) -> int:
    """Of so many, those that leave a core to others."""
    return max(1, min(threads, len(os.sched_getaffinity(0)) - 1))
