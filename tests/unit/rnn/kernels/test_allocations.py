"""Calls like the one before allocate nothing.

    python -m tests.unit.rnn.kernels.test_allocations COUNTER LIBRARY

is what the test runs in a process that starts with the counter in the place of malloc.
"""

import ctypes
import itertools
import os
import subprocess
import sys
from ctypes import c_long, c_void_p
from pathlib import Path

import pytest

from rnn.kernels.build import FOLDER, find_compiler, library_file
from rnn.kernels.library import CELL_NUMBERS, PRECISION_NUMBERS, Library
from tests.unit.rnn.kernels.raw import RawNetwork, open_library

ROOT = Path(__file__).parents[4]

# Counts while one of the two functions is called, in whatever thread.
COUNTER = r"""
#include <errno.h>
#include <stddef.h>
#include <atomic>
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
static std::atomic<bool> counting;
static std::atomic<long> count;
static void seen() { if (counting) count++; }
void* malloc(size_t n) { seen(); return __libc_malloc(n); }
void* calloc(size_t n, size_t m) { seen(); return __libc_calloc(n, m); }
void* realloc(void* p, size_t n) { seen(); return __libc_realloc(p, n); }
void* aligned_alloc(size_t a, size_t n) { seen(); return __libc_memalign(a, n); }
int posix_memalign(void** p, size_t a, size_t n) {
    seen();
    *p = __libc_memalign(a, n);
    return *p ? 0 : ENOMEM;
}
typedef const void* P;
long count_step(int (*f)(P, P, int, int, P, P, int, P, P, P, P, P, P, P), P a, P b, int c, int d,
                P e, P g, int h, P i, P j, P k, P l, P m, P n, P o) {
    count = 0;
    counting = true;
    int error = f(a, b, c, d, e, g, h, i, j, k, l, m, n, o);
    counting = false;
    return error ? -1 : count.load();
}
long count_sequences(int (*f)(P, P, int, P, P, P, P, P, P, P, P, P, P), P a, P b, int c, P d, P e,
                     P g, P h, P i, P j, P k, P l, P m, P n) {
    count = 0;
    counting = true;
    int error = f(a, b, c, d, e, g, h, i, j, k, l, m, n);
    counting = false;
    return error ? -1 : count.load();
}
}
"""


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("counter")
    (folder / "counter.cpp").write_text(COUNTER)
    compiler = find_compiler()
    assert compiler is not None
    command = [compiler, "-shared", "-fPIC", "-O1", "counter.cpp", "-o", "counter.so"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "counter.so"


@pytest.mark.compiler
def test_calls_like_the_one_before_allocate_nothing(kernels: Library, counter: Path) -> None:
    library = FOLDER / library_file(kernels.level)
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.rnn.kernels.test_allocations", counter, library],
        cwd=ROOT,
        env={**os.environ, "LD_PRELOAD": str(counter)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def main(counter: ctypes.CDLL, library: ctypes.CDLL) -> None:
    step, sequences = (ctypes.cast(f, c_void_p) for f in (library.rk_step, library.rk_sequences))
    counter.count_step.argtypes = (c_void_p, *library.rk_step.argtypes)
    counter.count_sequences.argtypes = (c_void_p, *library.rk_sequences.argtypes)
    counter.count_step.restype = counter.count_sequences.restype = c_long
    for cell, precision in itertools.product(CELL_NUMBERS, PRECISION_NUMBERS):
        network = RawNetwork(
            library, cell, precision, hidden=65, layers=2, norm=True, vocabulary=70, outputs=70
        )
        for threads, rows, steps in itertools.product((1, 3), (1, 24), (1, 3)):
            pool = library.rk_pool_new(threads)
            counts = []
            for repeat in range(4):
                _, arguments = network.step_arguments(
                    pool, rows=rows, steps=steps, greedy=True, in_place=True, seed=repeat
                )
                counts.append(counter.count_step(step, *arguments))
            # The second brings the pieces of the first into one.
            assert counts[0] > 0 == counts[2] == counts[3], (counts, threads, rows, steps)
            counts = []
            for repeat in range(4):
                _, arguments = network.sequences_arguments(
                    pool, [3, 1, 1, 5, *[1] * 20], carried=True, seed=repeat
                )
                counts.append(counter.count_sequences(sequences, *arguments))
            assert counts[0] > 0 == counts[2] == counts[3], (counts, threads)
            library.rk_pool_free(pool)
        network.free()


if __name__ == "__main__":
    main(ctypes.CDLL(sys.argv[1]), open_library(Path(sys.argv[2])))
