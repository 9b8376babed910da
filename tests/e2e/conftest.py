"""One whole instance for the tests that only use it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disks import place
from tests.e2e.running import Running


@pytest.fixture(scope="session")
def instance() -> Iterator[Running]:
    """`reprise up` in a folder with spaces, at its first start: it has printed its key."""
    folder = Path(tempfile.mkdtemp(prefix="reprise e2e ", dir=place()))
    running = Running(folder / ".reprise")
    try:
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder)
