"""The fused layers against the reference cells, and padding that must not matter."""

import pytest
import torch
from torch import Tensor

from rnn.cells import CELLS, CellState
from rnn.config import ArchitectureConfig, CellName
from rnn.determinism import Randomness
from rnn.layers import RecurrentLayer, reversal_index
from rnn.stack import RecurrentStack
from rnn.state import HiddenState

CELL_NAMES: list[CellName] = ["rnn_tanh", "rnn_relu", "lstm", "gru"]


def randomness(seed: int = 0) -> Randomness:
    return Randomness(seed, torch.device("cpu"))


def by_equations(
    layer: RecurrentLayer, x_btd: Tensor, state: CellState
) -> tuple[Tensor, CellState]:
    outputs = []
    for timestep in range(x_btd.shape[1]):
        state = CELLS[layer.cell](x_btd[:, timestep], state, layer.weights())
        outputs.append(state.hidden_bh)
    return torch.stack(outputs, dim=1), state


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("seed", range(4))
def test_fused_layer_equals_the_reference_cell(cell: CellName, seed: int) -> None:
    shape = torch.Generator().manual_seed(seed)
    batch, timesteps, inputs, hidden = torch.randint(1, 12, (4,), generator=shape).tolist()
    layer = RecurrentLayer(cell, inputs, hidden, randomness(seed))
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=shape)
    x_btd = torch.randn(batch, timesteps, inputs, generator=shape)
    hidden_bh = torch.randn(batch, hidden, generator=shape)
    cell_bh = torch.randn(batch, hidden, generator=shape) if cell == "lstm" else None
    start = CellState(hidden_bh, cell_bh)

    fused, fused_end = layer(x_btd, start)
    plain, plain_end = by_equations(layer, x_btd, start)

    torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fused_end.hidden_bh, plain_end.hidden_bh, rtol=1e-5, atol=1e-5)
    if cell_bh is not None:
        torch.testing.assert_close(fused_end.cell_bh, plain_end.cell_bh, rtol=1e-5, atol=1e-5)


def test_lstm_starts_with_open_forget_gates() -> None:
    weights = RecurrentLayer("lstm", 3, 4, randomness()).weights()
    total = weights.input_bias_g + weights.recurrent_bias_g
    assert total.tolist() == [0] * 4 + [1] * 4 + [0] * 8


def test_reversal_index_turns_each_row_within_its_length() -> None:
    index_bt = reversal_index(torch.tensor([3, 1, 4]), 4)
    assert index_bt.tolist() == [[2, 1, 0, 3], [0, 1, 2, 3], [3, 2, 1, 0]]


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_backward_direction_equals_torch_packed_sequences(cell: CellName) -> None:
    layer = RecurrentLayer(cell, 5, 6, randomness(), bidirectional=True)
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


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("residual", "layer_norm"), [(False, False), (True, True)])
def test_padded_batch_equals_each_row_alone(
    cell: CellName, bidirectional: bool, residual: bool, layer_norm: bool
) -> None:
    config = ArchitectureConfig(
        cell=cell, num_layers=3, hidden_size=5, residual=residual, layer_norm=layer_norm
    )
    stack = RecurrentStack(config, 4, randomness(), bidirectional=bidirectional).eval()
    lengths_b = torch.tensor([6, 1, 4, 3])
    x_btd = torch.randn(4, 6, 4, generator=torch.Generator().manual_seed(3))
    for row, length in enumerate(lengths_b.tolist()):
        x_btd[row, length:] = 1e3  # would be seen at once if it were read
    y_bth, _ = stack(x_btd, lengths_b=lengths_b)
    for row, length in enumerate(lengths_b.tolist()):
        alone, _ = stack(x_btd[row : row + 1, :length])
        torch.testing.assert_close(y_bth[row, :length], alone[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_state_carried_between_parts_equals_one_pass(cell: CellName) -> None:
    stack = RecurrentStack(ArchitectureConfig(cell=cell, hidden_size=5), 4, randomness()).eval()
    x_btd = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(4))
    whole, whole_end = stack(x_btd)
    first, state = stack(x_btd[:, :4])
    second, end = stack(x_btd[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(end.hidden_lbh, whole_end.hidden_lbh)


def test_residual_adds_the_input_only_where_widths_are_equal() -> None:
    plain = ArchitectureConfig(num_layers=2, hidden_size=4, dropout=0)
    with_residual = plain.model_copy(update={"residual": True})
    x_btd = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(5))
    stack, residual_stack = (
        RecurrentStack(config, 5, randomness()) for config in (plain, with_residual)
    )
    first, _ = stack.recurrent_layers()[0](x_btd)
    torch.testing.assert_close(residual_stack(x_btd)[0], stack(x_btd)[0] + first)


def test_dropout_between_layers_is_drawn_from_its_generator_and_off_when_evaluating() -> None:
    config = ArchitectureConfig(num_layers=2, hidden_size=16, dropout=0.5)
    stack = RecurrentStack(config, 3, randomness())
    x_btd = torch.ones(2, 4, 3)
    state = stack.dropout.generator.get_state()
    first, second = stack(x_btd)[0], stack(x_btd)[0]
    stack.dropout.generator.set_state(state)
    assert torch.equal(first, stack(x_btd)[0])
    assert not torch.equal(first, second)
    stack.eval()
    assert torch.equal(stack(x_btd)[0], stack(x_btd)[0])


def test_hidden_state_rows_can_be_joined_and_chosen() -> None:
    state = HiddenState(torch.arange(12.0).reshape(2, 3, 2), torch.zeros(2, 3, 2))
    assert state.batch_size == 3
    chosen = state.select([2, 0, 2])
    assert chosen.hidden_lbh[0].tolist() == [[4, 5], [0, 1], [4, 5]]
    joined = HiddenState.cat([state.row(1), chosen])
    assert joined.hidden_lbh[1].tolist() == [[8, 9], [10, 11], [6, 7], [10, 11]]
    assert joined.cell_lbh is not None
    assert HiddenState.zeros("gru", 2, 3, 4).cell_lbh is None
