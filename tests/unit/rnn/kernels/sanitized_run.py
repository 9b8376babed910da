"""Drives every function of a library over the edges of their shapes.

    python -m tests.unit.rnn.kernels.sanitized_run LIBRARY

The answers are not looked at: the library was built to stop at the first thing that is not
allowed, and `test_sanitizers.py` runs this in a process of its own.
"""

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np

from rnn.config import GATES_PER_CELL, MINIMAL_CELLS, CellName
from rnn.kernels.library import CELL_NUMBERS, PRECISION_NUMBERS, Precision
from tests.unit.rnn.kernels.raw import Array, RawNetwork, address, open_library

WIDE: tuple[Precision, ...] = ("float32", "bfloat16")
RAGGED = [3, 1, 1, 5, 1, 2, 1]
# Widths around those of vectors and panels at every level, and inputs around those of groups.
SHAPES: list[dict[str, Any]] = [
    {"hidden": 1, "features": 1},
    {"hidden": 3, "features": 7, "layers": 2, "residual": True},
    {"hidden": 17, "features": 17, "layers": 2, "norm": True, "residual": True, "outputs": 1},
    {"hidden": 65, "features": 3, "vocabulary": 9, "outputs": 9},
    {"hidden": 31, "features": 31, "vocabulary": 70, "outputs": 70, "layers": 3, "residual": True},
    {"hidden": 5, "features": 2, "directions": 2, "layers": 2, "outputs": 65},
    {"hidden": 33, "features": 66, "directions": 2, "vocabulary": 4, "residual": True},
    {"hidden": 260, "features": 3, "directions": 2},  # threads share the units of a single row
]


def infer(
    functions: Any, pool: int, cell: CellName, precision: Precision, shape: dict[str, Any]
) -> None:
    network = RawNetwork(functions, cell, precision, **shape)
    functions.rk_network_step_bytes(network.net)
    for lengths in ([1], [4], RAGGED, [1] * 23 + [2]):
        network.sequences(pool, lengths)
        network.sequences(pool, lengths, carried=False)
    if shape.get("directions") != 2:
        for rows, steps in itertools.product((1, 2, 7, 24), (1, 2, 3)):
            network.step(pool, rows=rows, steps=steps)
            network.step(pool, rows=rows, steps=steps, in_place=True)
            if network.vocabulary and network.outputs:
                network.step(pool, rows=rows, steps=steps, greedy=True)
    network.free()


def infer_unfolded(functions: Any, pool: int, precision: Precision) -> None:
    """A vocabulary too large for a table of products."""
    shape = {"hidden": 1, "features": 3, "vocabulary": (32 << 20) // 64 + 1}
    infer(functions, pool, "lstm", precision, shape)


def train(
    functions: Any,
    pool: int,
    cell: CellName,
    precision: Precision,
    hidden: int,
    batch_sizes: list[int],
) -> None:
    random = np.random.default_rng(0)
    wide_type = np.uint16 if precision == "bfloat16" else np.float32

    def numbers(*shape: int) -> Array:
        return random.normal(0, 0.4, shape).astype(np.float32)

    def wide(*shape: int) -> Array:
        exact = numbers(*shape)
        return exact if wide_type is np.float32 else (exact.view(np.uint32) >> 16).astype(wide_type)

    positions, rows, gates = sum(batch_sizes), batch_sizes[0], GATES_PER_CELL[cell] * hidden
    recurrent, lstm, gru = cell not in MINIMAL_CELLS, cell == "lstm", cell == "gru"
    sizes = np.array(batch_sizes, np.int64)
    for reverse, masked in itertools.product((0, 1), (False, True)):
        sums = wide(positions, gates)
        weight = numbers(gates, hidden) if recurrent else None
        bias = numbers(gates)
        new_bias = numbers(hidden) if gru else None
        mask = numbers(rows, hidden) if masked and recurrent else None
        hidden_start = numbers(rows, hidden)
        cell_start = numbers(rows, hidden) if lstm else None
        states = numbers(positions, hidden)
        memory = numbers(positions, hidden) if lstm else None
        recurrent_input = wide(positions, hidden) if recurrent else None
        recurrent_new = wide(positions, hidden) if gru else None
        kind = CELL_NUMBERS[cell], PRECISION_NUMBERS[precision]
        head = [pool, *kind, len(batch_sizes), address(sizes), hidden, reverse]
        given = [sums, weight, bias]
        after = [mask, hidden_start, cell_start, states, memory]
        forward = [*given, new_bias, *after, recurrent_input, recurrent_new]
        functions.rk_train_forward(*head, *map(address, forward))
        gradients = [
            numbers(positions, hidden),
            numbers(rows, hidden),
            numbers(rows, hidden) if lstm else None,
            numbers(gates),
            numbers(hidden) if gru else None,
        ]
        backward = [*given, *after, recurrent_new, *gradients]
        functions.rk_train_backward(*head, *map(address, backward))


def main(library: Path) -> None:
    functions = open_library(library)
    functions.rk_interface_version()
    functions.rk_cpu_level()
    for count in (1, 3):
        pool = functions.rk_pool_new(count)
        for cell, precision in itertools.product(CELL_NUMBERS, PRECISION_NUMBERS):
            for shape in SHAPES:
                infer(functions, pool, cell, precision, shape)
        for cell, precision in itertools.product(CELL_NUMBERS, WIDE):
            for hidden, batch_sizes in itertools.product((1, 17, 65), ([1], [7, 3, 1], [24, 24])):
                train(functions, pool, cell, precision, hidden, batch_sizes)
        for precision in PRECISION_NUMBERS:
            infer_unfolded(functions, pool, precision)
        functions.rk_pool_free(pool)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
