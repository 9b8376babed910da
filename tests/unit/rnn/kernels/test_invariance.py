"""A row's numbers are the same to the bit whoever shares its call, however many threads there are,
and whether its sequence comes whole or step by step; and a call disturbs nobody else."""

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from rnn.cells import CELLS
from rnn.config import CellName
from rnn.kernels.library import Library, Precision
from rnn.state import HiddenState
from tests.unit.rnn.kernels.conftest import threads
from tests.unit.rnn.kernels.raw import RawNetwork, same_bits
from tests.unit.rnn.kernels.reference import Case, Example

pytestmark = pytest.mark.compiler
every_cell = pytest.mark.parametrize("cell", list(CELLS))
every_precision = pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])

LENGTHS = (5, 1, 3, 1, 1, 7, 2, 1, 1, 1, 4, 1, 1)
DEEP = Case(LENGTHS, hidden_size=33, num_layers=3, layer_norm=True, residual=True)


def equal(a: HiddenState, b: HiddenState) -> bool:
    if a.memory_lbm is None or b.memory_lbm is None:
        return a.memory_lbm is b.memory_lbm and torch.equal(a.hidden_lbh, b.hidden_lbh)
    return torch.equal(a.hidden_lbh, b.hidden_lbh) and torch.equal(a.memory_lbm, b.memory_lbm)


@every_cell
@every_precision
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("vocabulary", [0, 11])
def test_a_sequence_alone_is_as_in_its_batch(
    kernels: Library,
    cell: CellName,
    precision: Precision,
    bidirectional: bool,
    vocabulary: int,
) -> None:
    example = Example(replace(DEEP, cell=cell, bidirectional=bidirectional, vocabulary=vocabulary))
    network = example.network(kernels, precision)
    start = None if bidirectional else example.start
    y_bth, end = network.sequences(example.x, example.lengths_b, start)
    for row, length in enumerate(LENGTHS):
        own = None if start is None else start.row(row)
        alone_1th, alone_end = network.sequences(example.x[row : row + 1, :length], None, own)
        assert torch.equal(alone_1th[0], y_bth[row, :length])
        assert equal(alone_end, end.row(row))


@every_cell
@every_precision
@pytest.mark.parametrize("rows", [2, 5, 7, 300])
def test_a_step_alone_is_as_in_its_batch(
    kernels: Library, cell: CellName, precision: Precision, rows: int
) -> None:
    example = Example(replace(DEEP, lengths=(1,) * rows, cell=cell, outputs=70))
    network = example.network(kernels, precision)
    scores, end = network.step(example.x[:, 0], example.start)
    for row in {0, 1, rows // 2, rows - 1}:
        alone, alone_end = network.step(example.x[row : row + 1, 0], example.start.row(row))
        assert torch.equal(alone[0], scores[row])
        assert equal(alone_end, end.row(row))


@every_cell
@every_precision
def test_a_text_is_the_same_whole_and_token_by_token(
    kernels: Library, cell: CellName, precision: Precision
) -> None:
    example = Example(replace(DEEP, lengths=(9,), cell=cell, vocabulary=50, outputs=50))
    network = example.network(kernels, precision)
    scores, end = network.prefill([example.x[0]], example.start)
    _, sequences_end = network.sequences(example.x, None, example.start)
    state = example.start
    for token in example.x[0]:
        stepped, state = network.step(token[None], state)
    assert torch.equal(stepped, scores)
    assert equal(state, end)
    assert equal(sequences_end, end)


@every_cell
@every_precision
def test_a_text_is_read_as_alone_beside_others(
    kernels: Library, cell: CellName, precision: Precision
) -> None:
    lengths = (9, 1, 30, 7, 30)
    example = Example(replace(DEEP, lengths=lengths, cell=cell, vocabulary=50, outputs=50))
    network = example.network(kernels, precision)
    rows = [example.x[row, :length] for row, length in enumerate(lengths)]
    scores, end = network.prefill(rows, example.start)
    for row, tokens in enumerate(rows):
        alone, alone_end = network.prefill([tokens], example.start.row(row))
        assert torch.equal(alone[0], scores[row])
        assert equal(alone_end, end.row(row))


@every_cell
@every_precision
def test_outputs_are_the_same_whole_and_step_by_step(
    kernels: Library, cell: CellName, precision: Precision
) -> None:
    example = Example(replace(DEEP, lengths=(4,) * 5, cell=cell))
    network = example.network(kernels, precision)
    y_bth, end = network.sequences(example.x, None, example.start)
    state = example.start
    for timestep in range(4):
        y_bh, state = network.step(example.x[:, timestep], state)
        assert torch.equal(y_bh, y_bth[:, timestep])
    assert equal(state, end)


@every_cell
@every_precision
def test_greedy_steps_are_single_steps_with_the_best_token(
    kernels: Library, cell: CellName, precision: Precision
) -> None:
    example = Example(replace(DEEP, lengths=(1,) * 7, cell=cell, vocabulary=70, outputs=70))
    network = example.network(kernels, precision)
    drawn, scores, end = network.greedy(example.x[:, 0], example.start, 6)
    tokens, state = example.x[:, 0], example.start
    for step in range(6):
        stepped, state = network.step(tokens, state)
        tokens = stepped.argmax(1)
        assert torch.equal(tokens, drawn[step])
    assert torch.equal(stepped, scores)
    assert equal(state, end)


@every_precision
def test_of_equal_scores_the_first_token_is_drawn(kernels: Library, precision: Precision) -> None:
    example = Example(Case((1,) * 24, hidden_size=64, vocabulary=300, outputs=300))
    assert example.output is not None
    example.output.weight.zero_()
    example.output.bias.zero_()
    example.output.bias[[123, 290]] = 1
    for count in (1, 3):
        with threads(count):
            drawn, _, _ = example.network(kernels, precision).greedy(
                example.x[:, 0], example.start, 2
            )
        assert (drawn == 123).all()


def all_answers(kernels: Library, precision: Precision, example: Example) -> list[Tensor]:
    """Of calls that are worth many threads, by rows and by panels of units."""
    network = example.network(kernels, precision)
    y_bth, end = network.sequences(example.x, example.lengths_b)
    answers = [y_bth, end.hidden_lbh]
    if end.memory_lbm is not None:
        answers.append(end.memory_lbm)
    if not example.case.bidirectional:
        scores, stepped = network.step(example.x[:, 0], example.start)
        drawn, last_scores, end = network.greedy(example.x[:, 0], example.start, 3)
        answers += [scores, stepped.hidden_lbh, drawn, last_scores, end.hidden_lbh]
    return answers


@every_cell
@every_precision
@pytest.mark.parametrize(
    "case",
    [
        Case((3, 2, *[1] * 298), hidden_size=51, num_layers=2, vocabulary=33, outputs=33),
        Case((3, 2), hidden_size=403, bidirectional=True),
    ],
    ids=["rows", "units"],
)
def test_any_number_of_threads(
    kernels: Library, cell: CellName, precision: Precision, case: Case
) -> None:
    """Up to more than there are panels of units, in any order, and again with the same number."""
    example = Example(replace(case, cell=cell, layer_norm=True, residual=True))
    one = all_answers(kernels, precision, example)
    for count in (2, 3, 5, 9, 3):
        with threads(count):
            several = all_answers(kernels, precision, example)
        assert all(map(torch.equal, one, several))


@every_precision
@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 3])
def test_states_may_be_written_where_they_are_read(
    kernels: Library, precision: Precision, steps: int, count: int
) -> None:
    pool = kernels.functions.rk_pool_new(count)
    for cell in CELLS:
        raw = RawNetwork(kernels.functions, cell, precision, hidden=65, layers=2)
        apart = raw.step(pool, rows=24, steps=steps)
        assert same_bits(raw.step(pool, rows=24, steps=steps, in_place=True), apart)
        raw.free()
    kernels.functions.rk_pool_free(pool)


def test_one_network_answers_several_threads_at_once(kernels: Library) -> None:
    example = Example(
        Case((4, *[1] * 23, 9), hidden_size=65, num_layers=2, vocabulary=99, outputs=99)
    )
    network = example.network(kernels)

    def answers(number: int) -> list[Tensor]:
        x = (example.x + number) % 99
        y_bth, end = network.sequences(x, example.lengths_b)
        drawn, scores, _ = network.greedy(x[:, 0], end, 5)
        return [y_bth, end.hidden_lbh, drawn, scores]

    expected = [answers(number) for number in range(4)]
    failed: list[int] = []
    together = threading.Barrier(4)

    def ask(number: int) -> None:
        torch.set_num_threads(1 + number % 2)
        together.wait()
        for _ in range(20):
            if not all(map(torch.equal, answers(number), expected[number])):
                failed.append(number)

    run_all([partial(ask, number) for number in range(4)])
    assert not failed


def test_python_goes_on_during_a_call(kernels: Library) -> None:
    functions = kernels.functions
    pool = functions.rk_pool_new(1)
    raw = RawNetwork(functions, "lstm", "float32", hidden=192, features=192)
    _, arguments = raw.sequences_arguments(pool, [700] * 8, carried=True, seed=1)
    beats = 0
    in_one_call = []
    done = threading.Event()

    def beat() -> None:
        nonlocal beats
        while not done.wait(0.001):
            beats += 1

    def call() -> None:
        # With the lock held there are no beats in the call, some may come between these lines.
        for _ in range(7):
            before = beats
            functions.rk_sequences(*arguments)
            in_one_call.append(beats - before)
        done.set()

    run_all([beat, call])
    raw.free()
    functions.rk_pool_free(pool)
    assert sorted(in_one_call)[3] >= 3


def run_all(targets: list[Callable[[], None]]) -> None:
    running = [threading.Thread(target=target) for target in targets]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
