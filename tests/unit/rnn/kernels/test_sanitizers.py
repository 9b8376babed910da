"""The kernels under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rnn.kernels.build import compile_level, find_compiler
from rnn.kernels.library import LEVELS, RANKS, load

pytestmark = pytest.mark.compiler

ROOT = Path(__file__).parents[4]
MEMORY = ("address,undefined", "libasan.so")
RACES = ("thread", "libtsan.so")


def drive(library: Path, runtime: str) -> subprocess.CompletedProcess[str]:
    """Runs `sanitized_run.py` in a process that starts with the sanitizer's own library, as one
    that is loaded later has to find it there."""
    compiler = find_compiler()
    assert compiler is not None
    asked = [compiler, f"-print-file-name={runtime}"]
    path = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    assert Path(path).is_absolute(), f"the compiler has no {runtime}"
    return subprocess.run(
        [sys.executable, "-m", "tests.unit.rnn.kernels.sanitized_run", str(library)],
        cwd=ROOT,
        # What Python itself never gives back is not ours to report.
        env={**os.environ, "LD_PRELOAD": path, "ASAN_OPTIONS": "detect_leaks=0"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All of them, compiled at the same time: the best level that runs here, and the plain one."""
    rank = load("plain").functions.rk_cpu_level()
    best = next(level for level in LEVELS if RANKS[level] <= rank)
    folder = tmp_path_factory.mktemp("sanitized")
    made = {"best": (best, MEMORY[0]), "plain": ("plain", MEMORY[0]), "races": ("plain", RACES[0])}

    def build(name: str) -> Path:
        level, kind = made[name]
        flags = (f"-fsanitize={kind}", "-fno-sanitize-recover=all", "-O1", "-g1")
        compile_level(level, folder / f"{name}.so", extra_flags=flags)
        return folder / f"{name}.so"

    with ThreadPoolExecutor(len(made)) as threads:
        return dict(zip(made, threads.map(build, made), strict=True))


@pytest.mark.parametrize("level", ["best", "plain"])
def test_nothing_is_read_or_written_out_of_bounds(sanitized: dict[str, Path], level: str) -> None:
    done = drive(sanitized[level], MEMORY[1])
    assert done.returncode == 0, done.stderr


def test_threads_do_not_race(sanitized: dict[str, Path]) -> None:
    done = drive(sanitized["races"], RACES[1])
    assert done.returncode == 0, done.stderr
