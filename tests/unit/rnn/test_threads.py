"""The threads of a step."""

from collections.abc import Iterator

import pytest
import torch

from rnn.kernels import library
from rnn.threads import step_threads

LARGE, SMALL = 1 << 27, (1 << 27) - 1


@pytest.fixture(autouse=True)
def _three_threads() -> Iterator[None]:
    before, kernels_before = torch.get_num_threads(), library.threads_here()
    torch.set_num_threads(3)
    library.use_threads(None)
    yield
    torch.set_num_threads(before)
    library.use_threads(kernels_before)


def test_a_small_step_takes_one_thread_but_for_the_kernels() -> None:
    with step_threads(SMALL):
        assert torch.get_num_threads() == 1
        assert library.threads_here() == 3
    assert torch.get_num_threads() == 3
    assert library.threads_here() is None


def test_a_large_step_takes_all() -> None:
    with step_threads(LARGE):
        assert torch.get_num_threads() == 3
        assert library.threads_here() is None


def test_the_way_back_takes_the_threads_of_the_step() -> None:
    """Autograd goes back in the thread that asked for it."""
    seen = []

    class Seen(torch.autograd.Function):
        @staticmethod
        def forward(_ctx: object, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(_ctx: object, gradient: torch.Tensor) -> torch.Tensor:
            seen.append((torch.get_num_threads(), library.threads_here()))
            return gradient

    x = torch.ones(1, requires_grad=True)
    with step_threads(SMALL):
        Seen.apply(x).backward()
    assert seen == [(1, 3)]
