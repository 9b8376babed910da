"""Single steps in torch against the whole-sequence network."""

import pytest
import torch
from torch import Tensor, nn

from rnn.stepper import Stepper
from tests.unit.rnn.stacks import (
    HIDDEN,
    assert_same_state,
    every_cell,
    every_connection,
    random_inputs,
    random_stack,
)

VOCABULARY = 11


@every_cell
@every_connection
@torch.no_grad()
def test_steps_equal_one_pass_over_the_whole_sequence(cell: str, connection: str) -> None:
    stack, x_btd = random_stack(cell, connection), random_inputs(3, 6)
    whole_bth, whole_end = stack(x_btd)
    stepper, state = Stepper(stack, embedding_vd=None, output=None), stack.initial_state(3)
    for timestep in range(6):
        y_bh, state = stepper.step(x_btd[:, timestep], state)
        torch.testing.assert_close(y_bh, whole_bth[:, timestep])
    assert_same_state(state, whole_end)


@every_cell
@every_connection
@pytest.mark.parametrize("inputs", [5, HIDDEN])
@torch.no_grad()
def test_tokens_are_embedded_and_outputs_scored(cell: str, connection: str, inputs: int) -> None:
    stack = random_stack(cell, connection, inputs=inputs)
    embedding_vd: Tensor = random_inputs(1, VOCABULARY, inputs)[0]
    output = nn.Linear(HIDDEN, VOCABULARY).double()
    tokens_bt = torch.randint(VOCABULARY, (3, 6), generator=torch.Generator().manual_seed(2))
    whole_bth, whole_end = stack(embedding_vd[tokens_bt])
    stepper = Stepper(stack, embedding_vd=embedding_vd, output=output)
    state = stack.initial_state(3)
    for timestep in range(6):
        logits_bv, state = stepper.step(tokens_bt[:, timestep], state)
        torch.testing.assert_close(logits_bv, output(whole_bth[:, timestep]))
    assert_same_state(state, whole_end)


def test_a_stack_in_both_directions_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be stepped"):
        Stepper(random_stack("gru", "plain", bidirectional=True), embedding_vd=None, output=None)
