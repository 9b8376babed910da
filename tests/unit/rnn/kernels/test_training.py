"""Training through the kernels against the reference cells in float64 and their autograd."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rnn.cells import CELLS, CellState, CellWeights
from rnn.config import GATES_PER_CELL, MINIMAL_CELLS, CellName
from rnn.kernels import library
from rnn.kernels.library import Library
from rnn.kernels.training import TrainingPrecision, available, recurrence
from tests.unit.rnn.kernels.conftest import threads

pytestmark = pytest.mark.compiler
every_cell = pytest.mark.parametrize("cell", list(CELLS))
recurrent_cell = pytest.mark.parametrize("cell", [c for c in CELLS if c not in MINIMAL_CELLS])
either_way = pytest.mark.parametrize("backwards", [False, True])
either_precision = pytest.mark.parametrize("precision", ["float32", "bfloat16"])

# Around the widths of vectors and panels at every level.
WIDTHS = [1, 2, 3, 7, 15, 16, 17, 31, 33, 50, 65, 70]
WEIGHTS = ("input_weight_gd", "recurrent_weight_gh", "input_bias_g", "recurrent_bias_g")


@pytest.fixture(scope="module", autouse=True)
def level(kernels: Library) -> Iterator[Library]:
    before = library._selected
    library.select(kernels.level)
    yield kernels
    library._selected = before


@dataclass(frozen=True)
class Case:
    """`timesteps`: of the padded batch; None: those of the longest row."""

    cell: CellName
    lengths: tuple[int, ...]
    hidden: int = 17
    inputs: int = 5
    timesteps: int | None = None
    backwards: bool = False
    masked: bool = False
    seed: int = 0


class Example:
    """A case's tensors: weights, inputs and start state, and the gradient of a loss with respect
    to what comes out. Padding of inputs is NaN, of gradients 0."""

    def __init__(self, case: Case) -> None:
        noise = torch.Generator().manual_seed(case.seed)
        gates, hidden, inputs = GATES_PER_CELL[case.cell] * case.hidden, case.hidden, case.inputs
        batch = len(case.lengths)
        timesteps = case.timesteps or max(case.lengths)

        def numbers(*shape: int) -> Tensor:
            return torch.randn(shape, generator=noise)

        self.case = case
        self.lengths_b = torch.tensor(case.lengths)
        self.padding_bt = torch.arange(timesteps) >= self.lengths_b[:, None]
        recurrent = case.cell not in MINIMAL_CELLS
        self.tensors: dict[str, Tensor] = {
            "x_btd": numbers(batch, timesteps, inputs).masked_fill(
                self.padding_bt[:, :, None], math.nan
            ),
            "input_weight_gd": numbers(gates, inputs) / math.sqrt(inputs),
            "input_bias_g": numbers(gates) * 0.3,
            "hidden_bh": numbers(batch, hidden),
        }
        if recurrent:
            self.tensors["recurrent_weight_gh"] = numbers(gates, hidden) / math.sqrt(hidden)
            self.tensors["recurrent_bias_g"] = numbers(gates) * 0.3
        if case.cell == "lstm":
            self.tensors["cell_bh"] = numbers(batch, hidden)
        self.mask_bh = (numbers(batch, hidden) > 0).float() * 2 if case.masked else None
        self.gradients = {
            "y_bth": numbers(batch, timesteps, hidden).masked_fill(self.padding_bt[:, :, None], 0),
            "hidden_end_bh": numbers(batch, hidden),
            "cell_end_bh": numbers(batch, hidden),
        }

    def with_kernels(
        self, precision: TrainingPrecision = "float32", *, gaps: bool = False
    ) -> dict[str, Tensor]:
        """Outputs by name, and gradients by the name of what they are of.

        Args:
            gaps: between the numbers of every array.
        """

        def run(weights: CellWeights, x_btd: Tensor, state: CellState) -> tuple[Tensor, CellState]:
            ragged = bool(self.padding_bt.any())
            if gaps:
                weights = CellWeights(*map(with_gaps, weights))
                x_btd = torch.stack([x_btd, x_btd], dim=-1)[..., 0]
                state = CellState(*map(with_gaps, state))
            return recurrence(
                self.case.cell,
                weights,
                x_btd,
                state,
                self.lengths_b if ragged else None,
                backwards=self.case.backwards,
                hidden_mask_bh=self.mask_bh,
                precision=precision,
            )

        return self.run(run, torch.float32)

    def with_cells(self) -> dict[str, Tensor]:
        return self.run(self.one_timestep_after_another, torch.float64)

    def one_timestep_after_another(
        self, weights: CellWeights, x_btd: Tensor, state: CellState
    ) -> tuple[Tensor, CellState]:
        if self.mask_bh is None:
            return self._rows(slice(None), weights, x_btd, state)
        assert weights.recurrent_weight_gh is not None
        rows = []
        for row in range(len(x_btd)):  # a mask of the hidden state is one of the weights' columns
            masked_gh = weights.recurrent_weight_gh * self.mask_bh[row].double()
            own = weights._replace(recurrent_weight_gh=masked_gh)
            rows.append(self._rows(slice(row, row + 1), own, x_btd, state))
        cells = [end.memory_bm for _, end in rows if end.memory_bm is not None]
        hidden_bh = torch.cat([end.hidden_bh for _, end in rows])
        end = CellState(hidden_bh, torch.cat(cells) if cells else None)
        return torch.cat([y_bth for y_bth, _ in rows]), end

    def _rows(
        self, rows: slice, weights: CellWeights, x_btd: Tensor, state: CellState
    ) -> tuple[Tensor, CellState]:
        x_btd, lengths_b = x_btd[rows], self.lengths_b[rows]
        x_btd = x_btd.masked_fill(self.padding_bt[rows, :, None], 0)
        state = CellState(*(None if part is None else part[rows] for part in state))
        outputs = [torch.zeros_like(state.hidden_bh)] * x_btd.shape[1]
        order = range(int(lengths_b.max()))
        for timestep in reversed(order) if self.case.backwards else order:
            after = CELLS[self.case.cell](x_btd[:, timestep], state, weights)
            there_b1 = (timestep < lengths_b)[:, None]
            outputs[timestep] = after.hidden_bh * there_b1
            pairs = zip(after, state, strict=True)
            state = CellState(
                *(None if new is None else torch.where(there_b1, new, old) for new, old in pairs)
            )
        return torch.stack(outputs, dim=1), state

    def run(
        self,
        path: Callable[[CellWeights, Tensor, CellState], tuple[Tensor, CellState]],
        dtype: torch.dtype,
    ) -> dict[str, Tensor]:
        leaves = {name: t.to(dtype, copy=True).requires_grad_() for name, t in self.tensors.items()}
        weights = CellWeights(*(leaves.get(name) for name in WEIGHTS))
        state = CellState(leaves["hidden_bh"], leaves.get("cell_bh"))
        y_bth, end = path(weights, leaves["x_btd"], state)
        outputs = {"y_bth": y_bth, "hidden_end_bh": end.hidden_bh}
        if end.memory_bm is not None:
            outputs["cell_end_bh"] = end.memory_bm
        grown = [self.gradients[name].to(dtype) for name in outputs]
        found = torch.autograd.grad(list(outputs.values()), list(leaves.values()), grown)
        values = {name: value.detach() for name, value in outputs.items()}
        return values | dict(zip(leaves, found, strict=True))


def with_gaps(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else torch.stack([tensor, tensor], dim=-1)[..., 0]


def errors(ours: dict[str, Tensor], exact: dict[str, Tensor]) -> dict[str, float]:
    """How far each tensor is off, as a part of its size."""
    assert ours.keys() == exact.keys()
    found = {}
    for name, expected in exact.items():
        assert ours[name].dtype == torch.float32
        assert ours[name].shape == expected.shape
        size = max(float(expected.norm()), 1e-2 * math.sqrt(expected.numel()))
        found[name] = float((ours[name].double() - expected).norm()) / size
    return found


def check(case: Case) -> None:
    example = Example(case)
    ours, exact = example.with_kernels(), example.with_cells()
    assert all(error < 1e-5 for error in errors(ours, exact).values()), errors(ours, exact)
    assert not ours["y_bth"][example.padding_bt].any()
    assert not ours["x_btd"][example.padding_bt].any()


row_lengths = st.one_of(
    st.lists(st.integers(1, 7), min_size=1, max_size=8),
    st.tuples(st.integers(1, 15), st.integers(1, 5)).map(lambda shape: [shape[1]] * shape[0]),
)


@every_cell
@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(
    lengths=row_lengths,
    hidden=st.sampled_from(WIDTHS),
    inputs=st.integers(1, 9),
    padding=st.integers(0, 2),
    backwards=st.booleans(),
    masked=st.booleans(),
    seed=st.integers(0, 2**30),
)
def test_results_and_gradients_equal_the_cells(
    cell: CellName,
    lengths: list[int],
    hidden: int,
    inputs: int,
    padding: int,
    backwards: bool,
    masked: bool,
    seed: int,
) -> None:
    masked = masked and cell not in MINIMAL_CELLS
    timesteps = max(lengths) + padding
    check(Case(cell, tuple(lengths), hidden, inputs, timesteps, backwards, masked, seed))


@every_cell
@either_way
@pytest.mark.parametrize("lengths", [[1] * 300, [2, 3, *[1] * 298]])
def test_many_rows(cell: CellName, lengths: list[int], backwards: bool) -> None:
    check(Case(cell, tuple(lengths), 9, backwards=backwards))


@every_cell
@either_way
def test_products_that_are_worth_preparing(cell: CellName, backwards: bool) -> None:
    check(Case(cell, (60,) * 30, hidden=120, inputs=100, backwards=backwards))


@every_cell
@either_way
@pytest.mark.parametrize("hidden", [33, 64])
def test_bfloat16_is_near(cell: CellName, backwards: bool, hidden: int) -> None:
    case = Case(cell, (9, 3, 1, 1, 7, 7, 7, 2), hidden, inputs=20, backwards=backwards)
    example = Example(case)
    off = errors(example.with_kernels("bfloat16"), example.with_cells())
    # Where a slope jumps, a number that is rounded to the other side has another gradient.
    smooth = cell not in MINIMAL_CELLS | {"rnn_relu"}
    for name, error in off.items():
        assert error < (1e-2 if name in example.gradients else 4e-2 if smooth else 0.2), off


def test_bfloat16_keeps_gates_that_are_nearly_open() -> None:
    """The gradient of what a cell took up long ago: 0.9988 ** 300, and not 1."""
    hidden, timesteps = 4, 300
    bias_g = torch.tensor([6.7]).repeat(16)
    weights = CellWeights(torch.zeros(16, 3), torch.zeros(16, hidden), bias_g, torch.zeros(16))
    start_bh = torch.zeros(1, hidden)
    cell_bh = torch.zeros(1, hidden, requires_grad=True)
    x_btd = torch.zeros(1, timesteps, 3)
    _, end = recurrence("lstm", weights, x_btd, CellState(start_bh, cell_bh), precision="bfloat16")
    assert end.memory_bm is not None
    end.memory_bm.sum().backward()
    expected = torch.sigmoid(torch.tensor(6.7)) ** timesteps
    torch.testing.assert_close(cell_bh.grad, expected.expand(1, hidden), rtol=1e-2, atol=0)


@every_cell
@either_way
def test_gradients_are_those_of_finite_differences(cell: CellName, backwards: bool) -> None:
    example = Example(Case(cell, (4, 2, 3), hidden=6, backwards=backwards))
    example.tensors["x_btd"] = example.tensors["x_btd"].nan_to_num()
    slopes = example.with_kernels()
    step = 1e-2

    def loss() -> float:
        found = example.with_kernels()
        return sum(
            float((found[name] * gradient).sum())
            for name, gradient in example.gradients.items()
            if name in found
        )

    noise = torch.Generator().manual_seed(1)
    for name, tensor in example.tensors.items():
        direction = torch.randn(tensor.shape, generator=noise)
        direction /= direction.norm()
        tensor += step * direction
        above = loss()
        tensor -= 2 * step * direction
        below = loss()
        tensor += step * direction
        expected = float((slopes[name] * direction).sum())
        assert (above - below) / (2 * step) == pytest.approx(expected, rel=0.05, abs=0.05), name


@every_cell
def test_rows_and_parts_come_together(cell: CellName) -> None:
    """A batch equals each row alone, and a state carried between two parts equals one pass."""
    example = Example(Case(cell, (6, 1, 4), timesteps=6))
    whole = example.with_kernels()
    weights = CellWeights(*(example.tensors.get(name) for name in WEIGHTS))
    x_btd, state = example.tensors["x_btd"], CellState(example.tensors["hidden_bh"])
    if cell == "lstm":
        state = state._replace(memory_bm=example.tensors["cell_bh"])
    for row, length in enumerate(example.case.lengths):
        end = CellState(*(None if part is None else part[row : row + 1] for part in state))
        for part_btd in x_btd[row : row + 1, :length].split([length // 2, -(-length // 2)], dim=1):
            if part_btd.shape[1]:
                _, end = recurrence(cell, weights, part_btd, end)
        torch.testing.assert_close(end.hidden_bh[0], whole["hidden_end_bh"][row])


@every_cell
@either_precision
@either_way
@pytest.mark.parametrize("hidden", [61, 131])  # a thread has some rows; mostly some units
def test_threads_and_runs_make_no_difference(
    cell: CellName, precision: TrainingPrecision, backwards: bool, hidden: int
) -> None:
    """To the bit; torch's own products of the weights' gradients are the same in effect."""
    lengths = (9, 9, 3, 8, 9, 1, 9, 9, 9, 2, 9, 9)
    example = Example(Case(cell, lengths, hidden=hidden, backwards=backwards))
    with threads(1):
        alone = example.with_kernels(precision)
        torch.testing.assert_close(example.with_kernels(precision), alone, rtol=0, atol=0)
    for count in (2, 3, 5):
        with threads(count):
            together = example.with_kernels(precision)
        for name, expected in alone.items():
            exact = name not in ("x_btd", "input_weight_gd", "recurrent_weight_gh")
            tolerance = 0.0 if exact else 1e-5 if precision == "float32" else 1e-2
            torch.testing.assert_close(
                together[name], expected, rtol=tolerance, atol=tolerance, msg=f"{name}: {count}"
            )


@every_cell
@either_precision
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_in_its_row(
    cell: CellName, precision: TrainingPrecision, value: float
) -> None:
    case = Case(cell, (3, 2, 3, 1, 3, 3, 3, 3), hidden=21)
    clean = Example(case).with_kernels(precision)
    spoilt = Example(case)
    spoilt.tensors["x_btd"][2, 1, 0] = value
    ours, exact = spoilt.with_kernels(precision), spoilt.with_cells()
    others = [row for row in range(8) if row != 2]
    for name in ("y_bth", "hidden_end_bh", "x_btd", "hidden_bh"):
        assert torch.equal(ours[name][others], clean[name][others])
    assert torch.equal(ours["y_bth"][2, 0], clean["y_bth"][2, 0])
    for name in ("y_bth", "hidden_end_bh"):
        lost = ~exact[name].isfinite()
        assert not ours[name][lost].isfinite().any()
        if precision == "float32":
            torch.testing.assert_close(
                ours[name][~lost].double(), exact[name][~lost], rtol=1e-4, atol=1e-5
            )
    if math.isnan(value):
        assert ours["input_weight_gd"].isnan().any()
        assert ours["x_btd"][2, 1].isnan().all()


@recurrent_cell
def test_masks_on_weights_are_the_callers(cell: CellName) -> None:
    """Weight dropout (Merity et al. 2018): gradients reach the weights through the mask."""
    example = Example(Case(cell, (4, 2)))
    gates, hidden = example.tensors["recurrent_weight_gh"].shape
    mask_gh = (torch.rand(gates, hidden, generator=torch.Generator().manual_seed(3)) > 0.5).float()
    example.tensors["recurrent_weight_gh"] *= mask_gh
    exact_gh = example.with_cells()["recurrent_weight_gh"] * mask_gh
    raw_gh = example.tensors["recurrent_weight_gh"].clone().requires_grad_()
    weights = CellWeights(*(example.tensors.get(name) for name in WEIGHTS))
    weights = weights._replace(recurrent_weight_gh=raw_gh * mask_gh)
    state = CellState(example.tensors["hidden_bh"], example.tensors.get("cell_bh"))
    y_bth, end = recurrence(cell, weights, example.tensors["x_btd"], state, example.lengths_b)
    outputs = {"y_bth": y_bth, "hidden_end_bh": end.hidden_bh}
    if end.memory_bm is not None:
        outputs["cell_end_bh"] = end.memory_bm
    torch.autograd.backward(list(outputs.values()), [example.gradients[name] for name in outputs])
    torch.testing.assert_close(raw_gh.grad, exact_gh.float(), rtol=1e-4, atol=1e-5)


@every_cell
def test_a_part_of_the_gradients(cell: CellName) -> None:
    """Of the end state alone, to one bias alone, from a start at zeros."""
    example = Example(Case(cell, (4, 2)))
    example.tensors["x_btd"] = example.tensors["x_btd"].nan_to_num()
    found = []
    for dtype in (torch.float32, torch.float64):
        weights = CellWeights(
            *(None if (t := example.tensors.get(n)) is None else t.to(dtype) for n in WEIGHTS)
        )
        bias_g = weights.input_bias_g.clone().requires_grad_()
        weights = weights._replace(input_bias_g=bias_g)
        x_btd = example.tensors["x_btd"].to(dtype)
        if dtype == torch.float32:
            _, end = recurrence(cell, weights, x_btd, None, example.lengths_b)
        else:
            zeros_bh = torch.zeros(2, example.case.hidden, dtype=dtype)
            start = CellState(zeros_bh, zeros_bh if cell == "lstm" else None)
            _, end = example.one_timestep_after_another(weights, x_btd, start)
        end.hidden_bh.square().sum().backward()
        found.append(bias_g.grad)
    torch.testing.assert_close(found[0], found[1].float(), rtol=1e-4, atol=1e-5)


@every_cell
@pytest.mark.parametrize("lengths", [(3, 3), (1, 1), (3, 2)])
def test_arrays_may_have_gaps(cell: CellName, lengths: tuple[int, ...]) -> None:
    """One number stood for a whole gradient, and the kernels read on from its address."""
    example = Example(Case(cell, lengths))
    example.gradients = {name: torch.ones_like(g) for name, g in example.gradients.items()}
    dense = example.with_kernels()
    shapes = {name: gradient.shape for name, gradient in example.gradients.items()}
    example.gradients = {name: torch.ones(()).expand(shape) for name, shape in shapes.items()}
    torch.testing.assert_close(example.with_kernels(gaps=True), dense)


@either_way
def test_a_batch_without_rows(backwards: bool) -> None:
    example = Example(Case("lstm", (3,)))
    weights = CellWeights(*(example.tensors[name] for name in WEIGHTS))
    x_btd = torch.zeros(0, 3, 5, requires_grad=True)
    y_bth, end = recurrence("lstm", weights, x_btd, backwards=backwards)
    assert y_bth.shape == (0, 3, 17)
    assert end.hidden_bh.shape == (0, 17)
    y_bth.sum().backward()
    assert x_btd.grad is not None


def test_walking_back_twice_is_refused() -> None:
    """The gates make room for their gradients, so a second pass would read those."""
    example = Example(Case("gru", (3,)))
    weights = CellWeights(*(example.tensors[name] for name in WEIGHTS))
    x_btd = example.tensors["x_btd"].requires_grad_()
    y_bth, _ = recurrence("gru", weights, x_btd)
    y_bth.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y_bth.sum().backward()


def test_autocast_does_not_reach_inside() -> None:
    example = Example(Case("lstm", (40,) * 30, hidden=60, inputs=40))
    plain = example.with_kernels()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(example.with_kernels(), plain, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("x_btd", torch.zeros(1, 3, 5, dtype=torch.float64), "float32"),
        ("x_btd", torch.zeros(1, 3, 6), "shape"),
        ("x_btd", torch.zeros(1, 0, 5), "no timesteps"),
        ("recurrent_weight_gh", torch.zeros(68, 16), "shape"),
        ("recurrent_bias_g", torch.zeros(67), "shape"),
        ("hidden_bh", torch.zeros(2, 17), "shape"),
        ("lengths_b", torch.tensor([0]), "from 1 to 3"),
        ("lengths_b", torch.tensor([4]), "from 1 to 3"),
        ("lengths_b", torch.tensor([2, 2]), "of 1 rows"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, wrong: Tensor, message: str) -> None:
    example = Example(Case("lstm", (3,)))
    tensors = example.tensors | {"lengths_b": torch.tensor([3])} | {name: wrong}
    weights = CellWeights(*(tensors[name] for name in WEIGHTS))
    state = CellState(tensors["hidden_bh"], tensors["cell_bh"])
    with pytest.raises(ValueError, match=message):
        recurrence("lstm", weights, tensors["x_btd"], state, tensors["lengths_b"])


def test_what_the_kernels_do_not_take_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    x_btd = torch.zeros(1, 1, 1)
    assert available(x_btd, "float32")
    assert not available(x_btd.double(), "float32")
    assert not available(x_btd.to("meta"), "float32")
    off = None, library.Status("torch", "the kernels are switched off")
    monkeypatch.setattr(library, "_selected", off)
    assert not available(x_btd, "float32")


def test_both_directions_share_their_order() -> None:
    """A row of one timestep is the same read either way."""
    case = Case("lstm", (1, 1, 1))
    forwards = Example(case).with_kernels()
    torch.testing.assert_close(
        Example(replace(case, backwards=True)).with_kernels(), forwards, rtol=0, atol=0
    )
