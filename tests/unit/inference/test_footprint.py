"""What a network is said to take is what it takes."""

import json
import subprocess
import sys

import pytest

from tests.unit.inference.footprints import CELLS, PRECISIONS


@pytest.fixture(scope="module")
def footprints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, int]]:
    folder = str(tmp_path_factory.mktemp("footprints"))
    command = [sys.executable, "-m", "tests.unit.inference.footprints", folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    found: dict[str, tuple[int, int]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_it_is_what_the_allocator_gave(
    footprints: dict[str, tuple[int, int]], cell: str, precision: str
) -> None:
    said, taken = footprints[f"{cell}, {precision}"]
    assert said == pytest.approx(taken, rel=0.05)
