"""Where many wait at once, what they get keeps a core busy by itself: messages, JSON, sockets.

Kernel threads on all cores wait for each other at every layer, all of them for the one whose core
passes on answers, and burn theirs meanwhile.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rnn.kernels import library

CROWD: Final = 8  # texts that are generated together


def threads_beside(threads: int) -> int:
    """Of so many, those that leave a core to others."""
    return max(1, min(threads, len(os.sched_getaffinity(0)) - 1))


@contextmanager
def kernel_threads(count: int) -> Iterator[None]:
    """What this thread asks of the kernels meanwhile is computed on so many."""
    before = library.threads_here()
    library.use_threads(count)
    try:
        yield
    finally:
        library.use_threads(before)
