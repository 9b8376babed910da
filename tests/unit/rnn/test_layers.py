"""Layers of every kind against their reference cells, and padding that must not matter."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rnn.cells import CELLS, CellState
from rnn.config import MINIMAL_CELLS, ArchitectureConfig, CellName
from rnn.layers import RecurrentLayer
from rnn.plain import reversal_index
from tests.unit.rnn.layer_cases import (
    KINDS,
    assert_same_state,
    by_equations,
    config_of,
    every_kind,
    paper_parts,
    random_input,
    random_layer,
    random_state,
    randomness,
)

SIZES = st.integers(1, 11)


@settings(deadline=None, max_examples=250)
@given(st.sampled_from(list(KINDS)), SIZES, SIZES, SIZES, SIZES, st.integers(1, 3), st.booleans())
def test_layer_equals_the_reference_cell(
    kind: str, batch: int, timesteps: int, inputs: int, units: int, heads: int, carried: bool
) -> None:
    config = config_of(kind, heads * (units + 1), num_heads=heads)
    layer = random_layer(config, inputs)
    start = random_state(layer, batch) if carried else layer.initial_state(batch)
    x_btd = random_input(batch, timesteps, inputs)
    y_bth, end = layer(x_btd, start if carried else None)
    expected_bth, expected_end = by_equations(layer, x_btd, start)
    torch.testing.assert_close(y_bth, expected_bth)
    assert_same_state(end, expected_end)
    assert_same_state(layer.step(x_btd[:, 0], start), by_equations(layer, x_btd[:, :1], start)[1])


@every_kind
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("carried", [False, True])
def test_ragged_rows_equal_the_reference_cell_on_each_alone(
    kind: str, bidirectional: bool, carried: bool
) -> None:
    """The state of a padded row was once that after its padding."""
    layer = random_layer(config_of(kind, 6, num_heads=2), 5, bidirectional=bidirectional)
    lengths_b = torch.tensor([3, 7, 1, 5])
    x_btd = random_input(4, 7, 5)
    start = random_state(layer, 4) if carried else layer.initial_state(4)
    y_bth, end = layer(x_btd, start if carried else None, lengths_b)
    for row, length in enumerate(lengths_b.tolist()):
        alone_btd, rows = x_btd[row : row + 1, :length], slice(row, row + 1)

        def one_row(state: CellState, rows: slice = rows) -> CellState:
            return CellState(*(part[rows] for part in state if part is not None))

        expected_bth, expected_end = by_equations(layer, alone_btd, one_row(start))
        assert_same_state(one_row(end), expected_end)
        if bidirectional:
            reversed_bth, _ = by_equations(
                layer, alone_btd.flip(1), layer.initial_state(1), backwards=True
            )
            expected_bth = torch.cat([expected_bth, reversed_bth.flip(1)], dim=2)
        torch.testing.assert_close(y_bth[rows, :length], expected_bth)


@every_kind
def test_outputs_do_not_depend_on_whether_the_state_is_wanted(kind: str) -> None:
    layer = random_layer(config_of(kind, 6, num_heads=2), 5, bidirectional=True)
    lengths_b, x_btd = torch.tensor([2, 7]), random_input(2, 7, 5)
    y_bth, _ = layer(x_btd, None, lengths_b)
    others_bth, _ = layer(x_btd, None, lengths_b, state_wanted=False)
    for row, length in enumerate(lengths_b.tolist()):
        torch.testing.assert_close(others_bth[row, :length], y_bth[row, :length])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "zoneout" not in kind])
@pytest.mark.parametrize("lengths", [None, [2, 3]])
def test_gradients_flow_to_input_state_and_weights(kind: str, lengths: list[int] | None) -> None:
    layer = random_layer(config_of(kind, 3), 2, bidirectional=True)
    names, parameters = zip(*layer.named_parameters(), strict=True)
    state = [part for part in random_state(layer, 2) if part is not None]
    valid_bt1 = torch.ones(2, 3, 1)
    if lengths is not None:
        valid_bt1 = (torch.arange(3) < torch.tensor(lengths)[:, None]).unsqueeze(2)

    def outputs_and_state(x_btd: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        start, weights = CellState(*others[: len(state)]), others[len(state) :]
        lengths_b = None if lengths is None else torch.tensor(lengths)
        y_bth, end = torch.func.functional_call(
            layer, dict(zip(names, weights, strict=True)), (x_btd, start, lengths_b)
        )
        return y_bth * valid_bt1, *paper_parts(layer, end)

    inputs = [random_input(2, 3, 2), *state, *(weight.detach() for weight in parameters)]
    assert torch.autograd.gradcheck(
        outputs_and_state, [part.clone().requires_grad_() for part in inputs], fast_mode=False
    )


@every_kind
def test_gradients_equal_those_of_the_equations(kind: str) -> None:
    layer = random_layer(config_of(kind, 6, num_heads=2), 3)
    x_btd = random_input(3, 9, 3).requires_grad_()
    start = [part.requires_grad_() for part in random_state(layer, 3) if part is not None]
    wanted = [x_btd, *start, *layer.parameters()]

    def gradients(outcome: tuple[Tensor, CellState]) -> tuple[Tensor, ...]:
        y_bth, end = outcome
        parts = [y_bth, *paper_parts(layer, end)]
        directions = [random_input(*part.shape) for part in parts]
        return torch.autograd.grad(parts, wanted, directions, allow_unused=True)

    actual = gradients(layer(x_btd, CellState(*start)))
    expected = gradients(by_equations(layer, x_btd, CellState(*start)))
    for ours, theirs in zip(actual, expected, strict=True):
        if theirs is None:
            assert ours is None or not ours.any()
        else:
            torch.testing.assert_close(ours, theirs)


@every_kind
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_in_its_row(kind: str, value: float) -> None:
    """And after its timestep; in mLSTM also in the timesteps that are computed at once with it."""
    layer = random_layer(config_of(kind, 6, num_heads=2), 3)
    x_btd = random_input(2, 5, 3)
    expected_bth, _ = layer(x_btd)
    x_btd[0, 2, 1] = value
    y_bth, _ = layer(x_btd)
    torch.testing.assert_close(y_bth[1], expected_bth[1])
    if kind != "mlstm":
        torch.testing.assert_close(y_bth[0, :2], expected_bth[0, :2])
    if value != value:
        assert y_bth[0, 2].isnan().any()


@every_kind
def test_gates_are_between_0_and_1_and_those_of_each_timestep(kind: str) -> None:
    layer = random_layer(config_of(kind, 6, num_heads=2), 3)
    x_btd, before_bth = random_input(2, 5, 3), random_input(2, 5, 6)
    gates = layer.gates(x_btd, before_bth)
    assert set(gates) == GATES[layer.cell]
    for name, gate in gates.items():
        assert gate.shape[:2] == (2, 5)
        assert ((gate > 0) & (gate < 1)).all()
        alone = layer.gates(x_btd[1:, 3:4], before_bth[1:, 3:4])[name]
        torch.testing.assert_close(alone[0, 0], gate[1, 3])


GATES: dict[CellName, set[str]] = {
    "rnn_tanh": set(),
    "rnn_relu": set(),
    "lstm": {"in_gate", "forget_gate", "out_gate"},
    "gru": {"reset_gate", "update_gate"},
    "layer_norm_lstm": {"in_gate", "forget_gate", "out_gate"},
    "indrnn": set(),
    "mingru": {"update_gate"},
    "minlstm": {"forget_gate", "in_gate"},
    "slstm": {"forget_gate", "out_gate"},
    "mlstm": {"forget_gate", "out_gate"},
    "rglru": {"recurrence_gate", "in_gate"},
}


@every_kind
def test_autocast_rounds_products_alone(kind: str) -> None:
    """States and sums in bfloat16 would lose long memories."""
    layer = random_layer(config_of(kind, 6, num_heads=2), 3).float()
    x_btd, lengths_b = random_input(2, 90, 3).float(), torch.tensor([90, 40])
    exact_bth, exact = layer(x_btd, None, lengths_b)
    with torch.autocast("cpu", torch.bfloat16):
        y_bth, end = layer(x_btd, None, lengths_b)
    assert y_bth.dtype == torch.float32
    difference = (y_bth[0] - exact_bth[0]).abs().mean()
    assert difference < 0.05 * exact_bth[0].abs().mean()
    for part, exactly in zip(end, exact, strict=True):
        assert (part is None) == (exactly is None)
        assert part is None or part.dtype == torch.float32


@pytest.mark.gpu
@every_kind
def test_a_gpu_gives_the_same_outputs_and_gradients(kind: str) -> None:
    layer = random_layer(config_of(kind, 6, num_heads=2), 3, bidirectional=True)
    x_btd, lengths_b = random_input(3, 70, 3), torch.tensor([70, 5, 33])
    valid_bt1 = (torch.arange(70) < lengths_b[:, None]).unsqueeze(2)
    outcomes = []
    for device in ("cpu", "cuda"):
        layer.zero_grad()
        y_bth, end = layer.to(device)(x_btd.to(device), None, lengths_b.to(device))
        (y_bth * valid_bt1.to(device)).sin().sum().backward()
        gradients = [parameter.grad.cpu() for parameter in layer.parameters()]
        outcomes.append([(y_bth.cpu() * valid_bt1).detach(), end.hidden_bh.cpu(), *gradients])
    for ours, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("cell", list(CELLS))
def test_kernels_may_compute_exactly_the_cells_that_they_know(cell: CellName) -> None:
    assert random_layer(config_of(cell, 4), 3).native
    assert not random_layer(config_of(f"{cell} zoneout", 4), 3).native


@pytest.mark.parametrize("kind", ["peephole", "mogrifier", "layer_norm_lstm", "slstm"])
def test_kernels_may_not_compute_others(kind: str) -> None:
    assert not random_layer(config_of(kind, 4), 3).native


def test_lstm_starts_with_open_forget_gates() -> None:
    weights = RecurrentLayer(ArchitectureConfig(hidden_size=4), 3, randomness()).weights()
    total = weights.input_bias_g + weights.recurrent_bias_g
    assert total.tolist() == [0] * 4 + [1] * 4 + [0] * 8


def test_reversal_index_turns_each_row_within_its_length() -> None:
    index_bt = reversal_index(torch.tensor([3, 1, 4]), 4)
    assert index_bt.tolist() == [[2, 1, 0, 3], [0, 1, 2, 3], [3, 2, 1, 0]]


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell not in MINIMAL_CELLS])
def test_backward_direction_equals_torch_packed_sequences(cell: CellName) -> None:
    config = ArchitectureConfig(cell=cell, hidden_size=6)
    layer = RecurrentLayer(config, 5, randomness(), bidirectional=True)
    lengths_b = torch.tensor([7, 2, 5])
    x_btd = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0))
    y_bth, _ = layer(x_btd, lengths_b=lengths_b)

    kinds = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
    options = {} if cell in kinds else {"nonlinearity": cell.removeprefix("rnn_")}
    peer = kinds.get(cell, torch.nn.RNN)(5, 6, batch_first=True, bidirectional=True, **options)
    weights = [*layer.weights(), *layer.weights(backwards=True)]
    for parameter, weight in zip(peer.parameters(), weights, strict=True):
        parameter.data.copy_(weight)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        x_btd, lengths_b, batch_first=True, enforce_sorted=False
    )
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(peer(packed)[0], batch_first=True)
    for row, length in enumerate(lengths_b.tolist()):
        torch.testing.assert_close(y_bth[row, :length], expected[row, :length])
