"""How many threads a training step takes on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rnn.kernels import library

# Products of a layer by so many multiplications are worth more than one of torch's threads.
_LARGE = 1 << 27


@contextmanager
def step_threads(multiplications: int) -> Iterator[None]:
    """What torch itself computes of a small step takes one thread meanwhile: to wake the others for
    each operation takes longer than they save. The kernels wake theirs once a layer, and keep them.

    Args:
        multiplications: of the step's largest product.
    """
    threads = torch.get_num_threads()
    if threads == 1 or multiplications >= _LARGE:
        yield
        return
    torch.set_num_threads(1)
    try:
        with library.kernel_threads(threads):
            yield
    finally:
        torch.set_num_threads(threads)
