"""The gradient by layer and lag, against the same stack walked step by step in float64."""

import copy
from typing import get_args

import pytest
import torch
from torch import Tensor

from rnn.cells import CellState
from rnn.config import ArchitectureConfig, CellName
from rnn.determinism import Randomness
from rnn.probe import Probe
from rnn.stack import RecurrentStack

ROWS, TIMESTEPS, INPUTS = 3, 13, 5
LAGS = [1, 2, 4, 8, 16]


def small_stack(
    cell: CellName, *, bidirectional: bool = False, **choices: object
) -> RecurrentStack:
    config = ArchitectureConfig.model_validate(
        {"cell": cell, "hidden_size": 8, "num_layers": 2, "num_heads": 2, **choices}
    )
    randomness = Randomness(0, torch.device("cpu"))
    return RecurrentStack(config, INPUTS, randomness, bidirectional=bidirectional).eval()


def loss_of(y_bth: Tensor) -> Tensor:
    """Every timestep has its part in it."""
    weights_th = torch.linspace(-1, 1, y_bth[0].numel(), dtype=y_bth.dtype).view_as(y_bth[0])
    return (y_bth * weights_th).sum() + y_bth[:, -1].square().sum()


def walked(stack: RecurrentStack, x_btd: Tensor) -> dict[int, dict[int, float]]:
    """The same norms by following every state one timestep at a time."""
    stack, x_btd = copy.deepcopy(stack).double(), x_btd.double()
    states: dict[tuple[int, int], list[Tensor]] = {}

    def run(index: int, inputs_btd: Tensor) -> Tensor:
        layer = stack.recurrent_layers()[index]
        zeros = stack.initial_state(ROWS)
        memory = None if zeros.memory_lbm is None else zeros.memory_lbm[index]
        state, outputs = CellState(zeros.hidden_lbh[index], memory), []
        for timestep in range(TIMESTEPS):
            # Hidden state and memory as two values, though one is computed from the other.
            state = CellState(
                *(
                    None if part is None else part + 0
                    for part in layer.step(inputs_btd[:, timestep], state)
                )
            )
            parts = [part for part in state if part is not None]
            for part in parts:
                part.retain_grad()
            states[index, TIMESTEPS - 1 - timestep] = parts
            outputs.append(state.hidden_bh)
        return torch.stack(outputs, dim=1)

    loss_of(stack.connect(x_btd, run)).backward()
    norms: dict[int, dict[int, float]] = {}
    for (layer, lag), parts in states.items():
        if lag in LAGS:
            grads = [part.grad.square().sum() for part in parts if part.grad is not None]
            norms.setdefault(layer, {})[lag] = float(sum(grads)) ** 0.5
    return norms


@pytest.mark.parametrize("cell", get_args(CellName))
@pytest.mark.parametrize("choices", [{}, {"residual": True, "layer_norm": True}, {"dense": True}])
def test_norms_are_those_of_the_stack_walked_step_by_step(
    cell: CellName, choices: dict[str, object]
) -> None:
    stack = small_stack(cell, **choices)
    x_btd = torch.randn(ROWS, TIMESTEPS, INPUTS, generator=torch.Generator().manual_seed(1))
    probe = Probe(LAGS)
    y_bth, _ = stack(x_btd, probe=probe)
    found, exact = probe.gradient_norms(loss_of(y_bth)), walked(stack, x_btd)
    assert list(found) == [0, 1]
    for layer, by_lag in found.items():
        assert list(by_lag) == [1, 2, 4, 8]
        assert by_lag == pytest.approx(exact[layer], rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "mingru", "mlstm"])
def test_a_stack_that_is_looked_at_answers_the_same(cell: CellName, *, bidirectional: bool) -> None:
    stack = small_stack(cell, bidirectional=bidirectional)
    x_btd = torch.randn(ROWS, TIMESTEPS, INPUTS)
    probe = Probe(LAGS)
    y_bth, end = stack(x_btd, probe=probe)
    expected_bth, expected_end = stack(x_btd)
    torch.testing.assert_close(y_bth, expected_bth)
    torch.testing.assert_close(end.hidden_lbh, expected_end.hidden_lbh)
    reading = probe.readings[0]
    assert reading.y_bth.shape == reading.hidden_before_bth.shape == (ROWS, TIMESTEPS, 8)
    assert torch.equal(reading.hidden_before_bth[:, 1:], reading.y_bth[:, :-1])
    assert torch.equal(reading.x_btd, x_btd)


def test_rows_of_one_timestep_have_no_lags() -> None:
    probe = Probe(LAGS)
    y_bth, _ = small_stack("gru")(torch.randn(2, 1, INPUTS), probe=probe)
    assert probe.gradient_norms(loss_of(y_bth)) == {}


def test_the_gradients_of_the_weights_are_left_alone() -> None:
    stack, probe = small_stack("gru"), Probe(LAGS)
    y_bth, _ = stack(torch.randn(2, 9, INPUTS), probe=probe)
    probe.gradient_norms(loss_of(y_bth))
    assert all(parameter.grad is None for parameter in stack.parameters())
