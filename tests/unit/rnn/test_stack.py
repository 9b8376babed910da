"""Stacks of every cell and connection: how layers are wired, padding that must not matter, states
that are carried on."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rnn.config import ArchitectureConfig
from rnn.determinism import Randomness
from rnn.probe import Probe
from rnn.sizes import stack_parameters
from rnn.stack import RecurrentStack, layer_state
from rnn.state import HiddenState
from tests.unit.rnn.stacks import (
    HIDDEN,
    INPUTS,
    LENGTHS_B,
    architecture,
    assert_same_state,
    every_cell,
    every_connection,
    random_inputs,
    random_stack,
)

in_both_directions = pytest.mark.parametrize("bidirectional", [False, True])


def randomness(seed: int = 0) -> Randomness:
    return Randomness(seed, torch.device("cpu"))


@in_both_directions
def test_dense_layers_read_the_inputs_and_all_layers_before(bidirectional: bool) -> None:
    stack = random_stack("gru", "dense", bidirectional=bidirectional)
    x_btd, (first, second, third) = random_inputs(2, 4), stack.recurrent_layers()
    one_bth, _ = first(x_btd)
    two_bth, _ = second(torch.cat([x_btd, one_bth], dim=2))
    three_bth, _ = third(torch.cat([x_btd, one_bth, two_bth], dim=2))
    torch.testing.assert_close(stack(x_btd)[0], three_bth)


@in_both_directions
def test_the_sum_of_all_layers_leaves_the_stack(bidirectional: bool) -> None:
    stack = random_stack("gru", "sum", bidirectional=bidirectional)
    x_btd, (first, second, third) = random_inputs(2, 4), stack.recurrent_layers()
    one_bth, _ = first(x_btd)
    two_bth, _ = second(one_bth)
    three_bth, _ = third(two_bth)
    torch.testing.assert_close(stack(x_btd)[0], one_bth + two_bth + three_bth)


def test_residual_adds_the_input_only_where_widths_are_equal() -> None:
    stack = random_stack("gru", "residual")
    x_btd, (first, second, third) = random_inputs(2, 4), stack.recurrent_layers()
    one_bth, _ = first(x_btd)
    two_bth = one_bth + second(one_bth)[0]
    torch.testing.assert_close(stack(x_btd)[0], two_bth + third(two_bth)[0])
    wide = random_stack("gru", "residual", inputs=HIDDEN)
    x_btd, (first, second, third) = random_inputs(2, 4, HIDDEN), wide.recurrent_layers()
    one_bth = x_btd + first(x_btd)[0]
    two_bth = one_bth + second(one_bth)[0]
    torch.testing.assert_close(wide(x_btd)[0], two_bth + third(two_bth)[0])


def test_pre_norm_stands_before_each_layer_and_after_the_last() -> None:
    stack = random_stack("gru", "pre_norm", inputs=HIDDEN)
    x_btd, norms = random_inputs(2, 4, HIDDEN), stack.input_norms
    for norm, layer in zip(norms, stack.recurrent_layers(), strict=True):
        assert not torch.equal(norm(x_btd), x_btd)
        x_btd = x_btd + layer(norm(x_btd))[0]
    expected_bth = stack.output_norm(x_btd)
    torch.testing.assert_close(stack(random_inputs(2, 4, HIDDEN))[0], expected_bth)


def test_layer_norm_stands_after_each_layer() -> None:
    stack = random_stack("gru", "layer_norm")
    x_btd = random_inputs(2, 4)
    for norm, layer in zip(stack.norms, stack.recurrent_layers(), strict=True):
        x_btd = norm(layer(x_btd)[0])
    torch.testing.assert_close(stack(random_inputs(2, 4))[0], x_btd)


@every_cell
@every_connection
@in_both_directions
def test_padded_batch_equals_each_row_alone(
    cell: str, connection: str, bidirectional: bool
) -> None:
    """Outputs, states after each row's own end, and gradients of the weights."""
    stack = random_stack(cell, connection, bidirectional=bidirectional)
    x_btd = random_inputs(4, 6)
    valid_bt = torch.arange(6) < LENGTHS_B[:, None]
    x_btd[~valid_bt] = 1e3  # would be seen at once if it were read
    x_btd.requires_grad_()
    parameters = list(stack.parameters())
    y_bth, end = stack(x_btd, lengths_b=LENGTHS_B)
    gradient_btd, *gradients = torch.autograd.grad(y_bth[valid_bt].sum(), [x_btd, *parameters])
    assert not gradient_btd[~valid_bt].any()
    alone = []
    for row, length in enumerate(LENGTHS_B.tolist()):
        alone_bth, alone_end = stack(x_btd[row : row + 1, :length])
        torch.testing.assert_close(y_bth[row, :length], alone_bth[0])
        assert_same_state(end.row(row), alone_end)
        alone.append(torch.autograd.grad(alone_bth.sum(), parameters))
    for gradient, *of_rows in zip(gradients, *alone, strict=True):
        torch.testing.assert_close(gradient, torch.stack(of_rows).sum(0))
    unwanted_bth, _ = stack(x_btd, lengths_b=LENGTHS_B, state_wanted=False)
    torch.testing.assert_close(unwanted_bth[valid_bt], y_bth[valid_bt])


@every_cell
@every_connection
def test_a_state_carried_between_pieces_equals_one_pass(cell: str, connection: str) -> None:
    stack, x_btd = random_stack(cell, connection), random_inputs(3, 9)
    whole_bth, whole_end = stack(x_btd)
    state = stack.initial_state(3)
    pieces = []
    for piece_btd in x_btd.split([4, 1, 3, 1], dim=1):
        y_bth, state = stack(piece_btd, state)
        pieces.append(y_bth)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole_bth)
    assert_same_state(state, whole_end)


@every_cell
def test_a_state_carried_into_a_ragged_batch_is_each_rows_own(cell: str) -> None:
    stack, x_btd = random_stack(cell, "plain"), random_inputs(4, 6)
    _, state = stack(random_inputs(4, 3))
    y_bth, end = stack(x_btd, state, LENGTHS_B)
    for row, length in enumerate(LENGTHS_B.tolist()):
        alone_bth, alone_end = stack(x_btd[row : row + 1, :length], state.row(row))
        torch.testing.assert_close(y_bth[row, :length], alone_bth[0])
        assert_same_state(end.row(row), alone_end)


@every_cell
def test_states_of_any_width_can_be_joined_and_chosen(cell: str) -> None:
    stack = random_stack(cell, "plain")
    _, state = stack(random_inputs(3, 4))
    initial = stack.initial_state(2)
    assert (state.memory_lbm is None) == (stack.memory_size == 0)
    if initial.memory_lbm is not None:
        assert initial.memory_lbm.shape == (3, 2, stack.memory_size)
    assert initial.hidden_lbh.dtype == torch.float64
    assert stack.initial_state(1, dtype=torch.float32).hidden_lbh.dtype == torch.float32
    joined = HiddenState.cat([state, initial])
    assert joined.batch_size == 5
    assert_same_state(joined.select([2, 0]), state.select([2, 0]), rtol=0, atol=0)
    assert_same_state(joined.row(4), stack.initial_state(1), rtol=0, atol=0)


def test_rows_of_a_state_come_in_the_order_asked_for() -> None:
    state = HiddenState(torch.arange(12.0).reshape(2, 3, 2), torch.arange(18.0).reshape(2, 3, 3))
    chosen = state.select([2, 0, 2])
    assert chosen.hidden_lbh[0].tolist() == [[4, 5], [0, 1], [4, 5]]
    joined = HiddenState.cat([state.row(1), chosen])
    assert joined.hidden_lbh[1].tolist() == [[8, 9], [10, 11], [6, 7], [10, 11]]
    assert joined.memory_lbm is not None
    assert joined.memory_lbm[0, :2].tolist() == [[3, 4, 5], [6, 7, 8]]


@every_cell
@every_connection
@in_both_directions
def test_the_size_is_known_before_it_is_built(
    cell: str, connection: str, bidirectional: bool
) -> None:
    for options in ({}, {"num_layers": 1}, {"hidden_size": 12, "num_heads": 3}):
        config = architecture(cell, connection, **options)
        stack = RecurrentStack(config, INPUTS, randomness(), bidirectional=bidirectional)
        expected = stack_parameters(config, INPUTS, bidirectional=bidirectional)
        assert sum(parameter.numel() for parameter in stack.parameters()) == expected


@every_cell
@in_both_directions
def test_a_probed_pass_gives_the_same_answers(cell: str, bidirectional: bool) -> None:
    stack = random_stack(cell, "all", bidirectional=bidirectional)
    x_btd = random_inputs(2, 9)
    expected_bth, expected_end = stack(x_btd)
    y_bth, end = stack(x_btd, probe=Probe([1, 2, 5, 20]))
    torch.testing.assert_close(y_bth, expected_bth)
    assert_same_state(end, expected_end)


@pytest.mark.parametrize("connection", ["plain", "all"])
def test_a_probe_sees_what_every_hidden_state_does_to_the_loss(connection: str) -> None:
    """Against steps that share one tensor between the next timestep and the layers above."""
    stack, x_btd, probe = random_stack("gru", connection), random_inputs(2, 7), Probe([1, 2, 5])
    y_bth, _ = stack(x_btd, probe=probe)
    found = probe.gradient_norms(y_bth[:, -1].square().sum())

    layers, initial = stack.recurrent_layers(), stack.initial_state(2)
    states = [[layer_state(initial, index)] for index in range(len(layers))]

    def step(index: int, x_bd: Tensor) -> Tensor:
        after = layers[index].step(x_bd, states[index][-1])
        after.hidden_bh.retain_grad()
        states[index].append(after)
        return after.hidden_bh

    for x_bd in x_btd.unbind(1):
        y_bh = stack.connect(x_bd, step)
    y_bh.square().sum().backward()
    for index, of_layer in enumerate(states):
        for lag in (1, 2, 5):
            gradient_bh = of_layer[-1 - lag].hidden_bh.grad
            assert gradient_bh is not None
            assert found[index][lag] == pytest.approx(float(gradient_bh.norm()))


@every_cell
@pytest.mark.parametrize("connection", ["plain", "all"])
def test_autocast_rounds_no_state(cell: str, connection: str) -> None:
    """A layer that reads bfloat16 would be left to a slower path."""
    stack, x_btd = random_stack(cell, connection).float(), random_inputs(2, 5).float()
    read: list[torch.dtype] = []
    for layer in stack.recurrent_layers():
        layer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        y_bth, end = stack(x_btd)
    assert {*read, y_bth.dtype, end.hidden_lbh.dtype} == {torch.float32}
    assert end.memory_lbm is None or end.memory_lbm.dtype == torch.float32


# ---- dropout and what is kept for penalties ------------------------------------------------------


def training_stack(seed: int = 0, **options: Any) -> RecurrentStack:
    config = ArchitectureConfig.model_validate(
        {"num_layers": 2, "hidden_size": 16, "dropout": 0, **options}
    )
    return RecurrentStack(config, 16, randomness(seed))


def ones() -> Tensor:
    return torch.ones(3, 4, 16)


@pytest.mark.parametrize("name", ["input_dropout", "dropout", "output_dropout"])
def test_dropout_comes_from_its_generator_and_is_off_when_evaluating(name: str) -> None:
    stack = training_stack(**{name: 0.5})
    before = stack.dropout.generator.get_state()
    first, second = stack(ones())[0], stack(ones())[0]
    assert not torch.equal(first, second)
    stack.dropout.generator.set_state(before)
    assert torch.equal(stack(ones())[0], first)
    stack.eval()
    assert torch.equal(stack(ones())[0], training_stack()(ones())[0])


def test_one_mask_drops_outputs_at_all_timesteps_of_a_row() -> None:
    y_bth, end = training_stack(output_dropout=0.5)(ones())
    raw_bth, raw_end = training_stack()(ones())
    dropped_bh = (y_bth == 0).all(dim=1)
    torch.testing.assert_close(y_bth, (2 * raw_bth).masked_fill(dropped_bh[:, None], 0))
    assert 0 < int(dropped_bh.sum()) < dropped_bh.numel()
    assert not torch.equal(dropped_bh[0], dropped_bh[1])
    assert_same_state(end, raw_end)


def test_one_mask_drops_inputs_at_all_timesteps_of_a_row() -> None:
    stack = training_stack(input_dropout=0.5)
    before = stack.dropout.generator.get_state()
    y_bth, _ = stack(ones())
    stack.dropout.generator.set_state(before)
    dropped_btd = stack.input_dropout(ones())
    assert torch.equal(dropped_btd[:, 0], dropped_btd[:, 3])
    assert set(dropped_btd.unique().tolist()) == {0, 2}
    torch.testing.assert_close(y_bth, training_stack()(dropped_btd)[0])


@pytest.mark.parametrize("name", ["input_dropout", "dropout", "output_dropout"])
def test_dropout_that_is_not_locked_drops_others_at_each_timestep(name: str) -> None:
    stack = training_stack(**{name: 0.5}, locked_dropout=False)
    dropped_btd = getattr(stack, name)(ones()) == 0
    assert 0 < int(dropped_btd.sum()) < dropped_btd.numel()
    assert not torch.equal(dropped_btd[:, 0], dropped_btd[:, 3])
    assert not torch.equal(stack(ones())[0], training_stack(**{name: 0.5})(ones())[0])


def test_who_builds_a_stack_can_choose_its_dropout_of_outputs() -> None:
    config = ArchitectureConfig(num_layers=1, hidden_size=16, output_dropout=0.5)
    stack = RecurrentStack(config, 16, randomness(), output_dropout=0.0)
    assert torch.equal(stack(ones())[0], stack(ones())[0])


def test_outputs_are_kept_only_while_wanted_and_training() -> None:
    stack = training_stack(output_dropout=0.5)
    stack(ones())
    assert stack.outputs is None
    stack.keeps_outputs = True
    y_bth, _ = stack(ones(), lengths_b=torch.tensor([4, 2, 1]))
    assert stack.outputs is not None
    assert stack.outputs.dropped_bth is y_bth
    assert stack.outputs.lengths_b is not None
    torch.testing.assert_close(stack.outputs.raw_bth[0], training_stack()(ones())[0][0])
    stack.eval()
    stack(ones())
    assert stack.outputs is None
