"""The minimal cells against numbers worked out by hand: everything else is held to the cells."""

import pytest
import torch

from rnn.cells import CELLS, CellState, CellWeights, positive
from rnn.plain import minimal_parts


def biases_only(*preacts: float) -> CellWeights:
    """Weights of one unit whose gates are these whatever it reads."""
    gates = len(preacts)
    bias_g = torch.tensor(preacts, dtype=torch.float64)
    return CellWeights(torch.zeros(gates, 1, dtype=torch.float64), None, bias_g, None)


def state(value: float) -> CellState:
    return CellState(torch.tensor([[value]], dtype=torch.float64))


X = torch.ones(1, 1, dtype=torch.float64)


@pytest.mark.parametrize(
    ("preact", "expected"), [(2.0, 2.5), (0.0, 0.5), (-1.0, 0.2689414213699951)]
)
def test_positive_is_shifted_above_zero_and_a_sigmoid_below(preact: float, expected: float) -> None:
    assert float(positive(torch.tensor(preact, dtype=torch.float64))) == pytest.approx(expected)


def test_mingru_moves_by_its_update_gate_towards_the_candidate() -> None:
    # sigmoid(ln 3) = 3/4; 1/4 * 8 + 3/4 * (1.5 + 0.5)
    end = CELLS["mingru"](X, state(8), biases_only(1.0986122886681098, 1.5))
    assert float(end.hidden_bh) == pytest.approx(3.5)


def test_minlstm_gates_are_shares() -> None:
    # f = 3/4, i = 1/4, shares 3/4 and 1/4; 3/4 * 8 + 1/4 * 2
    end = CELLS["minlstm"](X, state(8), biases_only(1.0986122886681098, -1.0986122886681098, 1.5))
    assert float(end.hidden_bh) == pytest.approx(6.5)
    # f = 1/2, i = 1/4: two thirds and one third
    end = CELLS["minlstm"](X, state(9), biases_only(0, -1.0986122886681098, 2.5))
    assert float(end.hidden_bh) == pytest.approx(7)


def test_gates_that_are_both_closed_still_share() -> None:
    """Their quotient is zero by zero in float32."""
    decay, addend = minimal_parts("minlstm", torch.tensor([-200.0, -201.0, 1.5]))
    share = 1 / (1 + torch.e)
    assert float(decay) == pytest.approx(1 - share)
    assert float(addend) == pytest.approx(share * 2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_not_finite_passes_through_as_in_the_equations(value: float, place: int) -> None:
    preacts = [0.5, -0.5, 1.0]
    preacts[place] = value
    weights = biases_only(*preacts)
    decay, addend = minimal_parts("minlstm", weights.input_bias_g)
    expected = CELLS["minlstm"](X, state(3), weights).hidden_bh[0]
    torch.testing.assert_close(decay * 3 + addend, expected, equal_nan=True)
