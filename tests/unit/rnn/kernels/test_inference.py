"""The packed networks against the reference cells in float64, over every shape."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn.cells import CELLS
from rnn.config import CellName
from rnn.errors import InputMismatchError
from rnn.kernels.inference import NativeNetwork
from rnn.kernels.library import Library, Precision
from rnn.state import HiddenState
from tests.unit.rnn.kernels.reference import UNFOLDED_VOCABULARY, Case, Example, error

pytestmark = pytest.mark.compiler
every_cell = pytest.mark.parametrize("cell", list(CELLS))
every_precision = pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])

# Against a reference whose products read the same rounded numbers. What is left is float32's own
# rounding, and once in a while a number that lies on the edge between two of its neighbours.
BOUNDS = {"float32": 1e-5, "bfloat16": 1e-2, "int8": 1e-1}
# Against the cell in float64.
LOSS_BOUNDS = {"float32": 1e-5, "bfloat16": 1e-2, "int8": 5e-2}

WIDTHS = [1, 2, 3, 7, 15, 16, 17, 31, 33, 50, 65]
some_lengths = st.lists(st.integers(1, 9), max_size=9)
many_of_length_one = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(
    lambda longer: [1] * 7 + longer + [1] * 30
)
row_lengths = st.one_of(some_lengths, many_of_length_one, st.just([1]), st.just([2, 3, *[1] * 298]))


@st.composite
def cases(draw: st.DrawFn, lengths: st.SearchStrategy[list[int]], *, directions: bool) -> Case:
    # The variance over a few units can be nearly nothing, and what is divided by it anything.
    layer_norm = draw(st.booleans())
    vocabulary = draw(st.sampled_from([0, 0, 1, 50]))
    return Case(
        lengths=tuple(draw(lengths)),
        hidden_size=draw(st.sampled_from(WIDTHS[4:] if layer_norm else WIDTHS)),
        features=draw(st.integers(1, 40)),
        num_layers=draw(st.integers(1, 4)),
        bidirectional=directions and draw(st.booleans()),
        layer_norm=layer_norm,
        residual=draw(st.booleans()),
        vocabulary=vocabulary,
        outputs=draw(st.sampled_from([0, 1, 5, 64, 130])),
        seed=draw(st.integers(0, 2**30)),
    )


def over(*strategies: Any, examples: int) -> Callable[..., Any]:
    """The same examples at every run: the bounds are sharp, and hold for all but some shapes."""

    def decorate(test: Callable[..., Any]) -> Any:
        return settings(max_examples=examples, deadline=None, derandomize=True, database=None)(
            given(*strategies)(test)
        )

    return decorate


def state_error(ours: HiddenState, expected: HiddenState) -> float:
    hidden_error = error(ours.hidden_lbh, expected.hidden_lbh)
    if expected.memory_lbm is None:
        assert ours.memory_lbm is None
        return hidden_error
    assert ours.memory_lbm is not None
    return max(hidden_error, error(ours.memory_lbm, expected.memory_lbm))


@every_cell
@every_precision
@over(cases(row_lengths, directions=True), st.booleans(), examples=10)
def test_whole_sequences_are_those_of_the_cells(
    kernels: Library, cell: CellName, precision: Precision, case: Case, carried: bool
) -> None:
    example = Example(replace(case, cell=cell))
    start = example.start if carried and not case.bidirectional else None
    expected, expected_end = example.reference(start, precision)
    y_bth, end = example.network(kernels, precision).sequences(example.x, example.lengths_b, start)
    assert error(y_bth, expected) <= BOUNDS[precision]
    assert state_error(end, expected_end) <= BOUNDS[precision]
    assert not y_bth[expected == 0].any()  # padding


@every_cell
@every_precision
@over(
    cases(st.builds(lambda rows, steps: [steps] * rows, st.integers(0, 9), st.integers(1, 4)),
          directions=False),
    examples=10,
)  # fmt: skip
def test_single_steps_are_those_of_the_cells(
    kernels: Library, cell: CellName, precision: Precision, case: Case
) -> None:
    example = Example(replace(case, cell=cell))
    expected, expected_end = example.reference(example.start, precision)
    network, state = example.network(kernels, precision), example.start
    for timestep in range(example.x.shape[1]):
        result, state = network.step(example.x[:, timestep], state)
        scores = example.scores(expected[:, timestep], precision)
        assert error(result, scores) <= BOUNDS[precision]
    if case.rows:
        assert state_error(state, expected_end) <= BOUNDS[precision]


@every_cell
@every_precision
def test_what_a_precision_costs_at_ordinary_widths(
    kernels: Library, cell: CellName, precision: Precision
) -> None:
    case = Case((6, 1, 4, 5), cell, hidden_size=96, features=40, outputs=70)
    example = Example(case)
    y_bth, end = example.network(kernels, precision).sequences(example.x, example.lengths_b)
    expected, expected_end = example.reference()
    assert error(y_bth, expected) <= LOSS_BOUNDS[precision]
    assert state_error(end, expected_end) <= LOSS_BOUNDS[precision]
    scores, _ = example.network(kernels, precision).step(example.x[:, 0], end)
    # The reference goes on from the same state: the step's own error.
    one = Example(replace(case, lengths=(1,) * 4))
    one.x, one.output = example.x[:, :1], example.output
    expected, _ = one.reference(end)
    assert error(scores, one.scores(expected[:, 0])) <= LOSS_BOUNDS[precision]


@every_precision
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_vocabulary_too_large_for_a_table(
    kernels: Library, precision: Precision, bidirectional: bool
) -> None:
    case = Case(
        (3, 2),
        hidden_size=1,
        features=3,
        num_layers=2,
        bidirectional=bidirectional,
        vocabulary=UNFOLDED_VOCABULARY,
    )
    example = Example(case)
    example.x[0, 0], example.x[1, 0] = 0, UNFOLDED_VOCABULARY - 1
    network = example.network(kernels, precision)
    folded = Example(replace(case, vocabulary=5)).network(kernels, precision)
    assert network.step_bytes > folded.step_bytes
    y_bth, _ = network.sequences(example.x, example.lengths_b)
    assert error(y_bth, example.reference(None, precision)[0]) <= BOUNDS[precision]
    if not bidirectional:
        y_bh, _ = network.step(example.x[:, 0], example.start)
        expected, _ = example.reference(example.start, precision)
        assert error(y_bh, expected[:, 0]) <= BOUNDS[precision]


@every_cell
def test_no_rows_are_no_answers(kernels: Library, cell: CellName) -> None:
    example = Example(Case((), cell, vocabulary=9, outputs=9, num_layers=2))
    network = example.network(kernels)
    y_bth, end = network.sequences(example.x, example.lengths_b)
    assert (y_bth.shape, end.hidden_lbh.shape) == ((0, 1, 17), (2, 0, 17))
    scores, end = network.step(example.x[:, 0], example.start)
    assert (scores.shape, end.hidden_lbh.shape) == ((0, 9), (2, 0, 17))
    drawn, scores, _ = network.greedy(example.x[:, 0], example.start, 3)
    assert (drawn.shape, scores.shape) == ((3, 0), (0, 9))


def test_int8_products_are_exact_to_the_last_bit(kernels: Library) -> None:
    """Numbers of 8 bits with a scale for each row, summed as integers."""
    generator = torch.Generator().manual_seed(5)
    example = Example(Case((1,) * 11, "rnn_relu", hidden_size=61, features=43))
    (layer,) = example.stack.recurrent_layers()
    weights = layer.weights()
    assert weights.recurrent_bias_g is not None
    weights.input_bias_g.zero_()
    weights.recurrent_bias_g.zero_()
    example.x.mul_(torch.randn(11, 1, 1, generator=generator).exp())
    zeros = HiddenState(torch.zeros(1, 11, 61))
    y_bh, _ = example.network(kernels, "int8").step(example.x[:, 0], zeros)

    x, w = example.x[:, 0].numpy(), weights.input_weight_gd.numpy()
    x_top, w_top = np.abs(x).max(1, keepdims=True), np.abs(w).max(1, keepdims=True)
    # Rounded once where the processor multiplies and adds at once.
    product = x * (127 / x_top) if kernels.level == "plain" else np.float64(x) * (127 / x_top)
    x_steps, w_steps = np.rint(product), np.rint(w * (127 / w_top))
    sums = (x_steps.astype(np.int32) @ w_steps.astype(np.int32).T).astype(np.float32)
    scales = (w_top.T / np.float32(127)) * (x_top / np.float32(127))
    assert scales.dtype == np.float32
    np.testing.assert_array_equal(y_bh.numpy(), np.maximum(sums * scales, 0))


# ---- activation functions ------------------------------------------------------------------------


def single_unit(kernels: Library, cell: CellName, gate: int, gates: int) -> NativeNetwork:
    """One unit; one of its gates is the input, the others are zero."""
    example = Example(Case((1,), cell, hidden_size=1, features=1))
    for parameter in example.stack.parameters():
        parameter.zero_()
    weights = example.stack.recurrent_layers()[0].weights()
    assert len(weights.input_weight_gd) == gates
    weights.input_weight_gd[gate] = 1
    return example.network(kernels)


def grid(largest: float) -> np.ndarray:
    """Dense where a function bends, and every magnitude down to the smallest number there is."""
    magnitudes = np.concatenate(
        [
            np.linspace(0, 20, 40_001),
            np.linspace(20, largest, 10_001),
            np.geomspace(1e-37, 1, 10_001),
            np.arange(200) * np.finfo(np.float32).smallest_subnormal,
            np.geomspace(2e-45, 1e-37, 1_001),
        ]
    ).astype(np.float32)
    return np.concatenate([magnitudes, -magnitudes])


def test_the_hyperbolic_tangent_is_as_good_as_float32(kernels: Library) -> None:
    x = np.concatenate([grid(100), np.float32([1e10, 3e38, np.inf, -1e10, -3e38, -np.inf])])
    network = single_unit(kernels, "rnn_tanh", 0, 1)
    zeros = HiddenState(torch.zeros(1, len(x), 1))
    y = network.step(torch.from_numpy(x)[:, None], zeros)[0][:, 0].numpy()
    expected = np.tanh(np.float64(x))
    spacing = np.finfo(np.float32).smallest_subnormal  # of numbers too small for full precision
    assert np.all(np.abs(y - expected) <= 3e-7 * np.abs(expected) + spacing)
    assert np.all(np.sign(y) == np.sign(x))
    assert np.abs(y).max() == 1


@pytest.mark.parametrize("gate", [0, 1, 3])
def test_the_gates_sigmoid_is_as_good_as_float32(kernels: Library, gate: int) -> None:
    x = np.concatenate([grid(86), np.float32([90, 1e4, 3e38, -90, -1e4, -3e38])])
    network = single_unit(kernels, "lstm", gate, 4)
    state_1bh = torch.ones(1, len(x), 1)
    # Memory' = forget * memory + in * tanh(0); hidden' = out * tanh(memory').
    _, end = network.step(torch.from_numpy(x)[:, None], HiddenState(state_1bh, 2 * state_1bh))
    assert end.memory_lbm is not None
    sigmoid = 1 / (1 + np.exp(-np.float64(x).clip(-700, 700)))
    forget = sigmoid if gate == 1 else 0.5
    expected_memory = forget * 2 * np.ones_like(sigmoid)
    expected_hidden = np.tanh(expected_memory) * (sigmoid if gate == 3 else 0.5)
    for ours, expected in ((end.memory_lbm, expected_memory), (end.hidden_lbh, expected_hidden)):
        np.testing.assert_allclose(ours[0, :, 0].numpy(), expected, rtol=6e-7, atol=1e-37)


@pytest.mark.parametrize("cell", ["mingru", "minlstm"])
def test_gates_that_are_far_from_zero(kernels: Library, cell: CellName) -> None:
    """Both gates of a minLSTM can be closed to the last bit; they share all the same."""
    gates = 2 if cell == "mingru" else 3
    pairs = [(a, b) for a in SIZES for b in SIZES]
    example = Example(Case((1,) * len(pairs), cell, hidden_size=1, features=2))
    weights = example.stack.recurrent_layers()[0].weights()
    for parameter in example.stack.parameters():
        parameter.zero_()
    weights.input_weight_gd[0, 0] = weights.input_weight_gd[1, 1] = 1
    weights.input_bias_g[gates - 1] += 0.25
    example.x = torch.tensor(pairs)[:, None]
    expected, _ = example.reference(example.start)
    y_bh, _ = example.network(kernels).step(example.x[:, 0], example.start)
    torch.testing.assert_close(y_bh.double(), expected[:, 0], rtol=1e-5, atol=1e-6)


SIZES = (-300.0, -120.0, -118.0, -100.0, -88.0, -87.0, -60.0, -21.0, -19.0, -1.0, 0.0, 5.0, 100.0)


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [-1, 9, 2**31 - 1, -(2**31), 2**32])
def test_a_token_that_is_not_in_the_vocabulary(kernels: Library, token: int) -> None:
    example = Example(Case((2, 2), vocabulary=9, outputs=9))
    network, zeros = example.network(kernels), example.start
    example.x[1, 1] = token
    tokens_b = example.x[:, 1]
    calls: list[Callable[[], object]] = [
        lambda: network.step(tokens_b, zeros),
        lambda: network.greedy(tokens_b, zeros, 2),
        lambda: network.sequences(example.x),
        lambda: network.prefill([tokens_b], zeros.row(0)),
    ]
    for call in calls:
        with pytest.raises(InputMismatchError, match="a token is not between 0 and 8"):
            call()


def test_a_token_on_padding_may_be_anything(kernels: Library) -> None:
    example = Example(Case((2, 1), vocabulary=9))
    expected, _ = example.network(kernels).sequences(example.x, example.lengths_b)
    example.x[1, 1] = -1
    y_bth, _ = example.network(kernels).sequences(example.x, example.lengths_b)
    assert torch.equal(y_bth, expected)


@pytest.mark.parametrize(("lengths", "said"), [((0, 2), "0 and 2"), ((2, 3), "2 and 3")])
def test_lengths_that_are_not_there(kernels: Library, lengths: tuple[int, ...], said: str) -> None:
    example = Example(Case((2, 2)))
    message = f"lengths must lie between 1 and 2, not between {said}"
    with pytest.raises(InputMismatchError, match=message):
        example.network(kernels).sequences(example.x, torch.tensor(lengths))


@pytest.mark.parametrize("features", [4, 6])
def test_inputs_of_another_width(kernels: Library, features: int) -> None:
    example = Example(Case((2, 2)))
    network = example.network(kernels)
    message = f"{features} input features, the network reads 5"
    with pytest.raises(InputMismatchError, match=message):
        network.step(torch.zeros(2, features), example.start)
    with pytest.raises(InputMismatchError, match=message):
        network.sequences(torch.zeros(2, 2, features))


def test_lengths_of_other_sequences(kernels: Library) -> None:
    example = Example(Case((2, 2)))
    with pytest.raises(InputMismatchError, match="1 lengths for 2 sequences"):
        example.network(kernels).sequences(example.x, torch.tensor([2]))


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (Case((1,) * 3), r"a state of \[1, 3, 17\] with memory"),
        (Case((1,) * 2, num_layers=2), r"a state of \[2, 2, 17\] with memory"),
        (Case((1,) * 2, hidden_size=16), r"a state of \[1, 2, 16\] with memory"),
        (Case((1,) * 2, "gru"), r"a state of \[1, 2, 17\] without memory"),
    ],
)
def test_a_state_of_another_network(kernels: Library, case: Case, said: str) -> None:
    example, other = Example(Case((1,) * 2)), Example(case)
    network = example.network(kernels)
    message = rf"{said}, the network's is \[1, 2, 17\] with memory"
    with pytest.raises(InputMismatchError, match=message):
        network.step(example.x[:, 0], other.start)
    with pytest.raises(InputMismatchError, match=message):
        network.sequences(example.x, None, other.start)
