"""The C interface of the kernels with numpy's arrays and nothing else: every array is exactly as
large as the interface says, so that a sanitizer sees what is read or written beyond it."""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

from rnn.config import GATES_PER_CELL, MINIMAL_CELLS, CellName
from rnn.kernels import library
from rnn.kernels.library import CELL_NUMBERS, PRECISION_NUMBERS, Precision

Array = np.ndarray[Any, Any]


def open_library(path: Path) -> ctypes.CDLL:
    functions = ctypes.CDLL(str(path))
    library._declare(functions)
    return functions


def address(array: Array | None) -> int | None:
    return None if array is None else array.ctypes.data


def same_bits(some: list[Array], others: list[Array]) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(some, others, strict=True))


class RawNetwork:
    """Weights, inputs and states are drawn from the seed."""

    def __init__(
        self,
        functions: Any,
        cell: CellName,
        precision: Precision,
        *,
        hidden: int,
        features: int = 5,
        layers: int = 1,
        directions: int = 1,
        vocabulary: int = 0,
        outputs: int = 0,
        norm: bool = False,
        residual: bool = False,
        seed: int = 0,
    ) -> None:
        self.functions, self.cell = functions, cell
        self.hidden, self.features, self.layers = hidden, features, layers
        self.width, self.vocabulary, self.outputs = directions * hidden, vocabulary, outputs
        self.random = np.random.default_rng(seed)
        self._kept: list[Array | None] = []
        read = 0 if vocabulary else features
        kind = CELL_NUMBERS[cell], PRECISION_NUMBERS[precision]
        self.net = functions.rk_network_new(*kind, layers, directions, read, hidden, int(residual))
        if vocabulary:
            embedding = self.numbers(vocabulary, features)
            functions.rk_network_set_tokens(self.net, vocabulary, features, address(embedding))
        gates, inputs = GATES_PER_CELL[cell] * hidden, features
        for layer in range(layers):
            for direction in range(directions):
                weights = [self.numbers(gates, inputs), None, self.numbers(gates), None]
                if cell not in MINIMAL_CELLS:
                    weights[1], weights[3] = self.numbers(gates, hidden), self.numbers(gates)
                functions.rk_network_set_layer(
                    self.net, layer, direction, *(address(weight) for weight in weights)
                )
            inputs = self.width
            if norm:
                scale, shift = self.numbers(inputs), self.numbers(inputs)
                functions.rk_network_set_norm(self.net, layer, address(scale), address(shift), 1e-5)
        if outputs:
            weight, bias = self.numbers(outputs, inputs), self.numbers(outputs)
            functions.rk_network_set_output(self.net, outputs, address(weight), address(bias))

    def free(self) -> None:
        self.functions.rk_network_free(self.net)

    def numbers(self, *shape: int) -> Array:
        return self.random.normal(0, 0.4, shape).astype(np.float32)

    def _read(self, *shape: int) -> tuple[Array | None, Array | None]:
        """Tokens or inputs."""
        if self.vocabulary:
            return self.random.integers(self.vocabulary, size=shape), None
        return None, self.numbers(*shape, self.features)

    def _states(self, rows: int) -> tuple[Array, Array | None]:
        shape = (self.layers, rows, self.hidden)
        return self.numbers(*shape), self.numbers(*shape) if self.cell == "lstm" else None

    def step(
        self,
        pool: int,
        *,
        rows: int,
        steps: int = 1,
        greedy: bool = False,
        in_place: bool = False,
        seed: int = 1,
    ) -> list[Array]:
        """New states, output, and where there is an output layer scores and drawn tokens."""
        answers, arguments = self.step_arguments(
            pool, rows=rows, steps=steps, greedy=greedy, in_place=in_place, seed=seed
        )
        self.functions.rk_step(*arguments)
        return answers

    def step_arguments(
        self, pool: int, *, rows: int, steps: int, greedy: bool, in_place: bool, seed: int
    ) -> tuple[list[Array], list[Any]]:
        """What the call will have written, and its arguments, good until the next are asked for."""
        self.random = np.random.default_rng(seed)
        tokens, inputs = self._read(rows) if greedy else self._read(steps, rows)
        hidden_in, cell_in = self._states(rows)
        hidden_out, cell_out = (hidden_in, cell_in) if in_place else self._states(rows)
        output = self.numbers(rows, self.width)
        scores = self.numbers(rows, self.outputs) if self.outputs else None
        drawn = np.full((steps, rows), -1, np.int64) if greedy else None
        written = [hidden_out, cell_out, output, scores, drawn]
        self._kept = [tokens, inputs, hidden_in, cell_in, *written]
        first, second = map(address, (tokens, inputs)), map(address, self._kept[2:])
        arguments = [self.net, pool, rows, steps, *first, int(greedy), *second]
        return [array for array in written if array is not None], arguments

    def sequences(
        self, pool: int, lengths: list[int], *, carried: bool = True, seed: int = 1
    ) -> list[Array]:
        """End states, outputs, and where there is an output layer scores. The rows lie one after
        another without padding, the last one first."""
        answers, arguments = self.sequences_arguments(pool, lengths, carried=carried, seed=seed)
        self.functions.rk_sequences(*arguments)
        return answers

    def sequences_arguments(
        self, pool: int, lengths: list[int], *, carried: bool, seed: int
    ) -> tuple[list[Array], list[Any]]:
        """As of `step_arguments`."""
        self.random = np.random.default_rng(seed)
        rows, positions = len(lengths), sum(lengths)
        lengths_b = np.array(lengths, np.int64)
        offsets_b = positions - lengths_b.cumsum()
        tokens, inputs = self._read(positions)
        hidden_in, cell_in = self._states(rows) if carried else (None, None)
        hidden_out, cell_out = self._states(rows)
        outputs = self.numbers(positions, self.width)
        scores = self.numbers(rows, self.outputs) if self.outputs else None
        written = [hidden_out, cell_out, outputs, scores]
        self._kept = [offsets_b, lengths_b, tokens, inputs, hidden_in, cell_in, *written]
        arguments = [self.net, pool, rows, *map(address, self._kept)]
        return [array for array in written if array is not None], arguments
