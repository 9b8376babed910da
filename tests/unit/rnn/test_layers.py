"""Layers against the reference cells, and padding that must not matter."""

import pytest
import torch
from torch import Tensor

from rnn.cells import CELLS, CellState
from rnn.config import MINIMAL_CELLS, ArchitectureConfig, CellName
from rnn.determinism import Randomness
from rnn.layers import RecurrentLayer
from rnn.plain import reversal_index

CELL_NAMES = tuple(CELLS)


def randomness(seed: int = 0) -> Randomness:
    return Randomness(seed, torch.device("cpu"))


def random_layer(
    cell: CellName, inputs: int, hidden: int, *, bidirectional: bool = False
) -> RecurrentLayer:
    """In float64, with weights and biases that are all different."""
    config = ArchitectureConfig(cell=cell, hidden_size=hidden)
    layer = RecurrentLayer(config, inputs, randomness(), bidirectional=bidirectional)
    noise = torch.Generator().manual_seed(inputs + hidden)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=noise)
    return layer.double()


def random_state(cell: CellName, batch: int, hidden: int) -> CellState:
    noise = torch.Generator().manual_seed(batch)
    hidden_bh, cell_bh = torch.randn(2, batch, hidden, generator=noise, dtype=torch.float64)
    return CellState(hidden_bh, cell_bh if cell == "lstm" else None)


def random_input(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def by_equations(
    layer: RecurrentLayer, x_btd: Tensor, state: CellState, *, backwards: bool = False
) -> tuple[Tensor, CellState]:
    outputs = []
    for x_bd in x_btd.unbind(1):
        state = CELLS[layer.cell](x_bd, state, layer.weights(backwards=backwards))
        outputs.append(state.hidden_bh)
    return torch.stack(outputs, dim=1), state


def assert_same_state(actual: CellState, expected: CellState) -> None:
    torch.testing.assert_close(actual.hidden_bh, expected.hidden_bh)
    assert (actual.memory_bm is None) == (expected.memory_bm is None)
    if actual.memory_bm is not None:
        torch.testing.assert_close(actual.memory_bm, expected.memory_bm)


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("seed", range(4))
def test_layer_equals_the_reference_cell(cell: CellName, seed: int) -> None:
    shape = torch.Generator().manual_seed(seed)
    batch, timesteps, inputs, hidden = torch.randint(1, 12, (4,), generator=shape).tolist()
    layer, start = random_layer(cell, inputs, hidden), random_state(cell, batch, hidden)
    x_btd = random_input(batch, timesteps, inputs)
    y_bth, end = layer(x_btd, start)
    expected_bth, expected_end = by_equations(layer, x_btd, start)
    torch.testing.assert_close(y_bth, expected_bth)
    assert_same_state(end, expected_end)


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("carried", [False, True])
def test_ragged_rows_equal_the_reference_cell_on_each_alone(
    cell: CellName, bidirectional: bool, carried: bool
) -> None:
    """The state of a padded row was once that after its padding."""
    layer = random_layer(cell, 5, 6, bidirectional=bidirectional)
    lengths_b = torch.tensor([3, 7, 1, 5])
    x_btd = random_input(4, 7, 5)
    zeros = CellState(*(part * 0 for part in random_state(cell, 4, 6) if part is not None))
    start = random_state(cell, 4, 6) if carried else zeros
    y_bth, end = layer(x_btd, start if carried else None, lengths_b)
    for row, length in enumerate(lengths_b.tolist()):
        alone_btd, rows = x_btd[row : row + 1, :length], slice(row, row + 1)

        def one_row(state: CellState, rows: slice = rows) -> CellState:
            return CellState(*(part[rows] for part in state if part is not None))

        expected_bth, expected_end = by_equations(layer, alone_btd, one_row(start))
        assert_same_state(one_row(end), expected_end)
        if bidirectional:
            reversed_bth, _ = by_equations(layer, alone_btd.flip(1), one_row(zeros), backwards=True)
            expected_bth = torch.cat([expected_bth, reversed_bth.flip(1)], dim=2)
        torch.testing.assert_close(y_bth[rows, :length], expected_bth)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_outputs_do_not_depend_on_whether_the_state_is_wanted(cell: CellName) -> None:
    layer, lengths_b = random_layer(cell, 5, 6, bidirectional=True), torch.tensor([2, 7])
    x_btd = random_input(2, 7, 5)
    y_bth, _ = layer(x_btd, None, lengths_b)
    others_bth, _ = layer(x_btd, None, lengths_b, state_wanted=False)
    for row, length in enumerate(lengths_b.tolist()):
        torch.testing.assert_close(others_bth[row, :length], y_bth[row, :length])


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("lengths", [None, [2, 3]])
def test_gradients_flow_to_input_state_and_weights(
    cell: CellName, lengths: list[int] | None
) -> None:
    layer = random_layer(cell, 2, 3, bidirectional=True)
    names, parameters = zip(*layer.named_parameters(), strict=True)
    state = [part for part in random_state(cell, 2, 3) if part is not None]
    valid_bt1 = torch.ones(2, 3, 1)
    if lengths is not None:
        valid_bt1 = (torch.arange(3) < torch.tensor(lengths)[:, None]).unsqueeze(2)

    def outputs_and_state(x_btd: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        start, weights = CellState(*others[: len(state)]), others[len(state) :]
        lengths_b = None if lengths is None else torch.tensor(lengths)
        y_bth, end = torch.func.functional_call(
            layer, dict(zip(names, weights, strict=True)), (x_btd, start, lengths_b)
        )
        return y_bth * valid_bt1, *(part for part in end if part is not None)

    inputs = [random_input(2, 3, 2), *state, *(weight.detach() for weight in parameters)]
    assert torch.autograd.gradcheck(
        outputs_and_state, [part.clone().requires_grad_() for part in inputs], fast_mode=False
    )


def test_lstm_starts_with_open_forget_gates() -> None:
    weights = RecurrentLayer(ArchitectureConfig(hidden_size=4), 3, randomness()).weights()
    total = weights.input_bias_g + weights.recurrent_bias_g
    assert total.tolist() == [0] * 4 + [1] * 4 + [0] * 8


def test_reversal_index_turns_each_row_within_its_length() -> None:
    index_bt = reversal_index(torch.tensor([3, 1, 4]), 4)
    assert index_bt.tolist() == [[2, 1, 0, 3], [0, 1, 2, 3], [3, 2, 1, 0]]


@pytest.mark.parametrize("cell", [cell for cell in CELL_NAMES if cell not in MINIMAL_CELLS])
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
