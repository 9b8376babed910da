"""NaN and infinity go where the equations send them: through their own row, to no other."""

import math

import pytest
import torch
from torch import Tensor

from rnn.cells import CELLS
from rnn.config import CellName
from rnn.kernels.library import Library, Precision
from tests.unit.rnn.kernels.conftest import threads
from tests.unit.rnn.kernels.reference import Case, Example, error

pytestmark = pytest.mark.compiler
every_cell = pytest.mark.parametrize("cell", list(CELLS))
every_precision = pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
every_value = pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])

TOUCHED = 3
LENGTHS = (4, 1, 3, 4, 2, 4, 4, 1, 4)
OTHERS = [row for row in range(len(LENGTHS)) if row != TOUCHED]


def check(ours: Tensor, clean: Tensor, expected: Tensor, precision: Precision) -> None:
    """Outputs [B, ...] of the spoilt batch, of the clean one, and those of the cells."""
    assert torch.equal(ours[OTHERS], clean[OTHERS])
    touched, finite = ours[TOUCHED], expected[TOUCHED].isfinite()
    assert not touched[~finite].isfinite().any()
    if precision != "int8":  # one scale for the row: all that is read of it is spoilt
        assert touched[finite].isfinite().all()
        both = torch.where(finite, expected[TOUCHED], 0), torch.where(finite, touched, 0)
        assert error(both[1], both[0]) <= (1e-5 if precision == "float32" else 5e-2)


@every_cell
@every_precision
@every_value
def test_in_an_input(kernels: Library, cell: CellName, precision: Precision, value: float) -> None:
    example = Example(Case(LENGTHS, cell, hidden_size=21, num_layers=2))
    network = example.network(kernels, precision)
    clean, clean_end = network.sequences(example.x, example.lengths_b)
    example.x[TOUCHED, 1, 2] = value
    y_bth, end = network.sequences(example.x, example.lengths_b)
    expected, expected_end = example.reference()
    check(y_bth, clean, expected, precision)
    for index in range(2):
        check(
            end.hidden_lbh[index],
            clean_end.hidden_lbh[index],
            expected_end.hidden_lbh[index],
            precision,
        )
    assert torch.equal(y_bth[TOUCHED, 0], clean[TOUCHED, 0])  # the timestep before
    # Steps meet it in the same way, to the bit.
    state = example.stack.initial_state(len(LENGTHS))
    for timestep in range(4):
        y_bh, state = network.step(example.x[:, timestep], state)
        torch.testing.assert_close(
            y_bh[TOUCHED], y_bth[TOUCHED, timestep], rtol=0, atol=0, equal_nan=True
        )


@every_cell
@every_precision
@every_value
@pytest.mark.parametrize("part", ["hidden", "cell"])
def test_in_a_state(
    kernels: Library, cell: CellName, precision: Precision, value: float, part: str
) -> None:
    example = Example(Case((1,) * len(LENGTHS), cell, hidden_size=21, num_layers=2))
    network = example.network(kernels, precision)
    clean, _ = network.step(example.x[:, 0], example.start)
    spoilt = example.start.hidden_lbh if part == "hidden" else example.start.memory_lbm
    if spoilt is None:
        return
    spoilt[0, TOUCHED, 20] = value
    y_bh, _ = network.step(example.x[:, 0], example.start)
    expected, _ = example.reference(example.start)
    check(y_bh, clean, expected[:, 0], precision)


@every_cell
@every_precision
@every_value
def test_in_a_weight(kernels: Library, cell: CellName, precision: Precision, value: float) -> None:
    """The first unit's first gate, in every row; the other units of a first timestep are as they
    would be."""
    example = Example(Case((1,) * 4, cell, hidden_size=21))
    clean, _ = example.network(kernels, precision).sequences(example.x)
    example.stack.recurrent_layers()[0].weights().input_weight_gd[0, 0] = value
    y_bth, _ = example.network(kernels, precision).sequences(example.x)
    expected, _ = example.reference()
    assert torch.equal(y_bth[..., 1:], clean[..., 1:])
    assert not y_bth[~expected.isfinite()].isfinite().any()


@every_precision
@pytest.mark.parametrize("count", [1, 3])
def test_scores_that_are_not_numbers_draw_a_token_all_the_same(
    kernels: Library, precision: Precision, count: int
) -> None:
    case = Case((1,) * 24, hidden_size=64, vocabulary=300, outputs=300)
    example = Example(case)
    network = example.network(kernels, precision)
    assert example.output is not None
    clean, _, _ = network.greedy(example.x[:, 0], example.start, 4)
    example.start.hidden_lbh[0, TOUCHED] = math.nan
    with threads(count):
        drawn, scores, _ = network.greedy(example.x[:, 0], example.start, 4)
    assert scores[TOUCHED].isnan().all()
    assert ((drawn >= 0) & (drawn < 300)).all()
    others = [row for row in range(24) if row != TOUCHED]
    assert torch.equal(drawn[:, others], clean[:, others])


def test_a_score_that_is_not_a_number_is_never_the_best(kernels: Library) -> None:
    example = Example(Case((1,) * 5, hidden_size=64, vocabulary=300, outputs=300))
    assert example.output is not None
    example.output.bias[[0, 70, 299]] = math.nan
    example.output.bias[7] = -math.inf
    drawn, scores, _ = example.network(kernels).greedy(example.x[:, 0], example.start, 1)
    assert scores[:, [0, 70, 299]].isnan().all()
    assert torch.equal(drawn[0], scores.nan_to_num(nan=-math.inf).argmax(1))
    example.output.bias.fill_(-math.inf)
    drawn, _, _ = example.network(kernels).greedy(example.x[:, 0], example.start, 2)
    assert ((drawn >= 0) & (drawn < 300)).all()
