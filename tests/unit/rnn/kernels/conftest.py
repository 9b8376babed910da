"""The libraries of this installation, each level that the processor runs in turn."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from rnn.kernels import build
from rnn.kernels.library import Level, Library, load


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("avx512", marks=pytest.mark.avx512),
        pytest.param("avx2", marks=pytest.mark.avx2),
        "plain",
    ],
)
def kernels(request: pytest.FixtureRequest) -> Library:
    """One level's library, made of the sources as they are now."""
    level: Level = request.param
    file = build.FOLDER / build.library_file(level)
    digest = build._digest([*build.FLAGS, *build.LEVELS[level]], build.NATIVE)
    if not file.exists() or bytes.fromhex(digest) not in file.read_bytes():
        pytest.fail(f"{file.name} is not of these sources: python -m rnn.kernels.build")
    return load(level)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Calls from here use so many."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
