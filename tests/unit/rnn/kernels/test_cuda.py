"""The GPU's network against the reference cells in float64. On a CPU the same code runs, but for
the graphs and Triton."""

import copy
import threading
import time

import pytest
import torch
from torch import Tensor, nn

from rnn.cells import CELLS, CellState
from rnn.config import GATES_PER_CELL, MINIMAL_CELLS, CellName, GenerationArchitecture
from rnn.determinism import Randomness
from rnn.errors import InputMismatchError
from rnn.kernels.cuda import CudaNetwork
from rnn.kernels.cuda_steps import MOST_ROWS, Product, Steps, _triton_step, advance, padded_rows
from rnn.stack import RecurrentStack, layer_state, stacked_state
from rnn.state import HiddenState

ALL_CELLS = list(CELLS)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
VOCABULARY, WIDTH = 31, 12
SHAPES = (3, 50), (40, 50), (40,)  # of a product's input, weights and bias


def noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Parts:
    """A stack with random weights, its embedding and its output layer."""

    def __init__(self, cell: CellName, device: str, **architecture: object) -> None:
        settings = {"cell": cell, "hidden_size": WIDTH, "num_layers": 2, **architecture}
        config = GenerationArchitecture.model_validate(settings)
        randomness = Randomness(0, torch.device("cpu"))
        self.stack = RecurrentStack(config, config.embedding_size, randomness).eval()
        self.embedding_vd = torch.randn(VOCABULARY, config.embedding_size, generator=noise(1))
        self.output = nn.Linear(WIDTH, VOCABULARY)
        for module in (self.stack, self.output):
            for parameter in module.parameters():
                nn.init.normal_(parameter, std=0.4, generator=noise(2))
            module.to(device)
        self.embedding_vd = self.embedding_vd.to(device)

    def network(self, precision: str = "float32") -> CudaNetwork:
        return CudaNetwork(
            self.stack, embedding_vd=self.embedding_vd, output=self.output, precision=precision
        )

    def state(self, rows: int, seed: int = 3) -> HiddenState:
        layers = self.stack.recurrent_layers()
        shape = (len(layers), rows, WIDTH)
        memory_lbh = torch.randn(shape, generator=noise(seed + 1))
        hidden_lbh = torch.randn(shape, generator=noise(seed))
        return HiddenState(hidden_lbh, memory_lbh if layers[0].cell == "lstm" else None)

    @torch.no_grad()
    def reference(self, x_bd: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        """One timestep in float64 on the CPU, before the output layer."""
        stack = copy.deepcopy(self.stack).cpu().double()
        x_bd, ends = x_bd.cpu().double(), []
        for index, layer in enumerate(stack.recurrent_layers()):
            start = layer_state(state, index)
            start = CellState(*(None if part is None else part.double() for part in start))
            ends.append(CELLS[layer.cell](x_bd, start, layer.weights()))
            y_bh = stack.norms[index](ends[-1].hidden_bh)
            x_bd = x_bd + y_bh if stack.residual and x_bd.shape == y_bh.shape else y_bh
        return x_bd, stacked_state(ends)

    def reference_scores(self, tokens_b: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        y_bh, end = self.reference(self.embedding_vd.cpu()[tokens_b], state)
        output = copy.deepcopy(self.output).cpu().double()
        return output(y_bh).detach(), end


def tokens(*shape: int, seed: int = 5) -> Tensor:
    return torch.randint(VOCABULARY, shape, generator=noise(seed))


def assert_close(ours: Tensor, exact: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(ours.cpu().double(), exact, rtol=tolerance, atol=tolerance)


def assert_same_state(ours: HiddenState, exact: HiddenState, tolerance: float = 1e-5) -> None:
    assert_close(ours.hidden_lbh, exact.hidden_lbh, tolerance)
    assert (ours.memory_lbm is None) == (exact.memory_lbm is None)
    if ours.memory_lbm is not None and exact.memory_lbm is not None:
        assert_close(ours.memory_lbm, exact.memory_lbm, tolerance)


def test_rows_are_padded_to_powers_of_two() -> None:
    sizes = [padded_rows(rows) for rows in (0, 1, 2, 3, 4, 5, 129, MOST_ROWS)]
    assert sizes == [1, 1, 2, 4, 4, 8, 256, 256]
    assert len({padded_rows(rows) for rows in range(MOST_ROWS + 1)}) == 9


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cell", ALL_CELLS)
@pytest.mark.parametrize(
    "architecture",
    [
        {"num_layers": 1, "embedding_size": 7},
        {"num_layers": 3, "embedding_size": WIDTH, "residual": True},
        {"layer_norm": True, "embedding_size": 7, "residual": True},
    ],
)
def test_steps_are_those_of_the_reference_cell(
    cell: CellName, architecture: dict[str, object], device: str
) -> None:
    parts = Parts(cell, device, **architecture)
    network, ours, exact = parts.network(), parts.state(5), parts.state(5)
    for timestep in range(4):
        tokens_b = tokens(5, seed=timestep)
        logits_bv, ours = network.step(tokens_b, ours)
        exact_bv, exact = parts.reference_scores(tokens_b, exact)
        assert_close(logits_bv, exact_bv)
        assert_same_state(ours, exact)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cell", ALL_CELLS)
def test_steps_of_inputs_that_are_no_tokens(cell: CellName, device: str) -> None:
    parts = Parts(cell, device, embedding_size=5)
    x_bd, state = torch.randn(3, 5, generator=noise(8)), parts.state(3)
    y_bh, end = CudaNetwork(parts.stack).step(x_bd, state)
    exact_bh, exact = parts.reference(x_bd, state)
    assert_close(y_bh, exact_bh)
    assert_same_state(end, exact)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cell", ["lstm", "mingru"])
def test_every_number_of_rows_is_stepped(cell: CellName, device: str) -> None:
    parts = Parts(cell, device)
    network = parts.network()
    for rows in (3, 1, 2, 8, 200, 256, 300, 600, 1):
        tokens_b, state = tokens(rows), parts.state(rows)
        logits_bv, end = network.step(tokens_b, state)
        exact_bv, exact = parts.reference_scores(tokens_b, state)
        assert_close(logits_bv, exact_bv)
        assert_same_state(end, exact)


@pytest.mark.parametrize("device", DEVICES)
def test_no_rows_are_no_answer(device: str) -> None:
    network, state = Parts("lstm", device).network(), Parts("lstm", device).state(0)
    logits_bv, end = network.step(tokens(0), state)
    assert logits_bv.shape == (0, VOCABULARY)
    assert end.batch_size == 0
    y_bth, end = network.sequences(tokens(0, 4))
    assert y_bth.shape == (0, 4, WIDTH)
    assert end.batch_size == 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cell", ALL_CELLS)
@pytest.mark.parametrize("rows", [3, 300])
def test_greedy_is_a_loop_of_steps(cell: CellName, rows: int, device: str) -> None:
    parts = Parts(cell, device)
    network, tokens_b, state = parts.network(), tokens(rows), parts.state(rows)
    drawn_sb, last_bv, end = network.greedy(tokens_b, state, 6)
    for drawn_b in drawn_sb:
        logits_bv, state = network.step(tokens_b, state)
        tokens_b = logits_bv.argmax(dim=1)
        assert torch.equal(drawn_b, tokens_b)
    assert len(drawn_sb) == 6
    assert torch.equal(last_bv, logits_bv)
    assert torch.equal(end.hidden_lbh, state.hidden_lbh)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cell", ALL_CELLS)
def test_two_sessions_take_turns(cell: CellName, device: str) -> None:
    """The buffers are shared: what one session left there must not reach the other."""
    parts = Parts(cell, device)
    network = parts.network()
    states = exact = [parts.state(1, seed=10), parts.state(3, seed=20)]
    for timestep in range(3):
        given = [tokens(1, seed=timestep), tokens(3, seed=timestep)]
        answers = [network.step(*pair) for pair in zip(given, states, strict=True)]
        wanted = [parts.reference_scores(*pair) for pair in zip(given, exact, strict=True)]
        states, exact = [end for _, end in answers], [end for _, end in wanted]
        for (logits_bv, _), (exact_bv, _) in zip(answers, wanted, strict=True):
            assert_close(logits_bv, exact_bv)


@pytest.mark.parametrize("device", DEVICES)
def test_threads_share_a_network(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = Steps._launch

    def slow_launch(steps: Steps, rows: int) -> None:
        time.sleep(1e-4)  # lets another thread at the buffers
        launch(steps, rows)

    monkeypatch.setattr(Steps, "_launch", slow_launch)
    parts = Parts("lstm", device)
    network, found = parts.network(), {}

    def run(rows: int) -> None:
        stream = torch.cuda.Stream() if device == "cuda" else None
        with torch.cuda.stream(stream):
            state = parts.state(rows)
            for timestep in range(20):
                logits_bv, state = network.step(tokens(rows, seed=timestep), state)
            found[rows] = logits_bv.cpu()

    threads = [threading.Thread(target=run, args=(rows,)) for rows in (1, 2, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rows in (1, 2, 5):
        exact = parts.state(rows)
        for timestep in range(20):
            exact_bv, exact = parts.reference_scores(tokens(rows, seed=timestep), exact)
        assert_close(found[rows], exact_bv)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cell", ALL_CELLS)
@pytest.mark.parametrize("with_state", [False, True])
def test_ragged_sequences(cell: CellName, with_state: bool, device: str) -> None:
    parts = Parts(cell, device, layer_norm=True)
    tokens_bt, lengths_b = tokens(4, 9), torch.tensor([9, 1, 4, 8])
    start = parts.state(4) if with_state else None
    y_bth, end = parts.network().sequences(tokens_bt, lengths_b, start)
    for row, length in enumerate(lengths_b.tolist()):
        exact = parts.state(4).row(row)
        if not with_state:
            memory_lbh = exact.memory_lbm
            exact = HiddenState(
                torch.zeros_like(exact.hidden_lbh),
                None if memory_lbh is None else torch.zeros_like(memory_lbh),
            )
        for timestep in range(length):
            x_bd = parts.embedding_vd.cpu()[tokens_bt[row : row + 1, timestep]]
            exact_bh, exact = parts.reference(x_bd, exact)
            assert_close(y_bth[row, timestep], exact_bh[0])
        assert not y_bth[row, length:].any()
        assert_same_state(end.row(row), exact)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cell", ALL_CELLS)
def test_both_directions_of_ragged_sequences(cell: CellName, device: str) -> None:
    config = GenerationArchitecture(cell=cell, hidden_size=WIDTH, num_layers=2, embedding_size=5)
    stack = RecurrentStack(config, 5, Randomness(0, torch.device("cpu")), bidirectional=True)
    stack.eval().to(device)
    x_btd, lengths_b = torch.randn(3, 7, 5, generator=noise(4)), torch.tensor([7, 2, 5])
    y_bth, _ = CudaNetwork(stack).sequences(x_btd, lengths_b)
    exact = copy.deepcopy(stack).cpu().double()
    for row, length in enumerate(lengths_b.tolist()):
        with torch.no_grad():
            exact_bth, _ = exact(x_btd[row : row + 1, :length].double())
        assert_close(y_bth[row, :length], exact_bth[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cell", ALL_CELLS)
def test_prefill_is_steps(cell: CellName, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnn.kernels.cuda._SEGMENT", 4)
    parts = Parts(cell, device)
    network, given, state = parts.network(), tokens(11), parts.state(1)
    logits_bv, end = network.prefill([given], state)
    for token in given:
        exact_bv, state = parts.reference_scores(token[None], state)
    assert_close(logits_bv, exact_bv)
    assert_same_state(end, state)
    stepped_bv, _ = network.step(given[:1], end)  # and steps go on from there
    exact_bv, _ = parts.reference_scores(given[:1], state)
    assert_close(stepped_bv, exact_bv)


@pytest.mark.parametrize("device", DEVICES)
def test_a_rounded_product_is_summed_in_float32(device: str) -> None:
    x_bd, weight_od, bias_o = (torch.randn(*shape, generator=noise(1)) for shape in SHAPES)
    product = Product(weight_od.to(device), bias_o.to(device), rounded=True)
    factors = x_bd.bfloat16().double(), weight_od.bfloat16().double()
    exact_bo = factors[0] @ factors[1].T
    assert_close(product(x_bd.to(device)), exact_bo + bias_o, 1e-5)
    other_bo = torch.randn(exact_bo.shape, generator=noise(2))
    assert_close(product(x_bd.to(device), other_bo.to(device)), exact_bo + other_bo, 1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cell", ALL_CELLS)
def test_bfloat16_is_near(cell: CellName, device: str) -> None:
    parts = Parts(cell, device)
    network, ours, exact = parts.network("bfloat16"), parts.state(4), parts.state(4)
    for timestep in range(8):
        logits_bv, ours = network.step(tokens(4, seed=timestep), ours)
        exact_bv, exact = parts.reference_scores(tokens(4, seed=timestep), exact)
    assert_close(logits_bv, exact_bv, 0.1)
    given = tokens(8)
    logits_bv, end = network.prefill([given], parts.state(1))
    exact = parts.state(1)
    for token in given:
        exact_bv, exact = parts.reference_scores(token[None], exact)
    assert_close(logits_bv, exact_bv, 0.1)
    assert end.hidden_lbh.dtype == torch.float32
    assert not torch.equal(
        end.hidden_lbh, parts.network().prefill([given], parts.state(1))[1].hidden_lbh
    )


@pytest.mark.parametrize("device", DEVICES)
def test_what_does_not_fit_is_refused(device: str) -> None:
    parts = Parts("gru", device)
    network, state = parts.network(), parts.state(1)
    for wrong in (-1, VOCABULARY):
        with pytest.raises(InputMismatchError, match="between 0 and 30"):
            network.step(torch.tensor([wrong]), state)
        with pytest.raises(InputMismatchError, match="between 0 and 30"):
            network.sequences(torch.tensor([[1, wrong]]))
    for length in (0, 4):
        with pytest.raises(InputMismatchError, match="between 1 and 3"):
            network.sequences(tokens(2, 3), torch.tensor([2, length]))
    with pytest.raises(InputMismatchError, match="5 input features"):
        CudaNetwork(parts.stack).step(torch.zeros(1, 5), state)


@pytest.mark.parametrize("device", DEVICES)
def test_weights_are_copied(device: str) -> None:
    parts = Parts("lstm", device)
    network = parts.network()
    before_bv, _ = network.step(tokens(2), parts.state(2))
    for tensor in (*parts.stack.parameters(), *parts.output.parameters(), parts.embedding_vd):
        tensor.detach().zero_()
    after_bv, _ = network.step(tokens(2), parts.state(2))
    assert torch.equal(after_bv, before_bv)
    assert parts.network().prefill([tokens(2)], parts.state(1))[0].eq(0).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cell", ALL_CELLS)
def test_what_is_not_finite_stays_in_its_row(cell: CellName, device: str) -> None:
    parts = Parts(cell, device)
    network, state = parts.network(), parts.state(2)
    state.hidden_lbh[:, 0] = torch.nan
    logits_bv, _ = network.step(tokens(2), state)
    assert logits_bv[0].isnan().all()
    assert logits_bv[1].isfinite().all()
    _, _, end = network.greedy(tokens(2), state, 3)  # the best of no numbers is still a token
    assert end.hidden_lbh[:, 0].isnan().all()


def gates_and_state(
    cell: CellName, rows: int, width: int
) -> tuple[Tensor, Tensor | None, CellState]:
    gates = GATES_PER_CELL[cell] * width
    gates_bg = 3 * torch.randn(rows, gates, generator=noise(6))
    gates_bg[:, ::7] *= 40  # gates that are fully open or closed
    recurrent_bg = torch.randn(rows, gates, generator=noise(7)) if cell == "gru" else None
    memory_bh = torch.randn(rows, width, generator=noise(9)) if cell == "lstm" else None
    return (
        gates_bg,
        recurrent_bg,
        CellState(torch.randn(rows, width, generator=noise(8)), memory_bh),
    )


def test_without_triton_torch_takes_its_place(caplog: pytest.LogCaptureFixture) -> None:
    assert _triton_step(torch.device("cpu")) is None
    assert "without Triton" in caplog.text


@pytest.mark.gpu
@pytest.mark.parametrize("cell", ["lstm", "gru", *sorted(MINIMAL_CELLS)])
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (1, 255), (3, 257), (64, 512)])
def test_triton_is_the_torch_path(cell: CellName, rows: int, width: int) -> None:
    from rnn.kernels import triton_step

    gates_bg, recurrent_bg, state = gates_and_state(cell, rows, width)
    on_gpu = CellState(*(None if part is None else part.cuda() for part in state))
    there = None if recurrent_bg is None else recurrent_bg.cuda()
    triton_step.advance(cell, gates_bg.cuda(), there, on_gpu)
    advance(cell, gates_bg, recurrent_bg, state)
    for fused, exact in zip(on_gpu, state, strict=True):
        if fused is not None and exact is not None:
            torch.testing.assert_close(fused.cpu(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("cell", ALL_CELLS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_replayed_graph_does_what_was_captured(cell: CellName, precision: str) -> None:
    parts = Parts(cell, "cuda")
    replayed, launched = parts.network(precision), parts.network(precision)
    state = parts.state(4)
    _, _ = launched.step(tokens(4), state)
    assert launched._steps is not None
    launched._steps._replays[4] = lambda: launched._steps._launch(4)  # type: ignore[union-attr]
    for timestep in range(3):
        replayed_bv, end = replayed.step(tokens(4, seed=timestep), state)
        launched_bv, state = launched.step(tokens(4, seed=timestep), state)
        assert torch.equal(replayed_bv, launched_bv)
        assert torch.equal(end.hidden_lbh, state.hidden_lbh)


@pytest.mark.gpu
def test_memory_is_bounded_over_all_numbers_of_rows() -> None:
    network, parts = Parts("lstm", "cuda").network(), Parts("lstm", "cuda")
    for rows in (1, 256):
        network.step(tokens(rows), parts.state(rows))
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    for rows in range(1, 600, 13):
        network.step(tokens(rows), parts.state(rows))
    assert network._steps is not None
    assert len(network._steps._replays) <= 9
    torch.cuda.empty_cache()
    # Scratch memory of cuBLAS alone is 32 MiB, and would be that much for each graph.
    assert torch.cuda.memory_reserved() - before < 2**26


@pytest.mark.parametrize("device", DEVICES)
def test_what_graphs_compute_in_is_told(device: str) -> None:
    parts = Parts("lstm", device)
    network = parts.network()
    network.step(tokens(256), parts.state(256))
    assert network._steps is not None
    told = network._steps.scratch_bytes
    assert (0 < told < 2**27) if device == "cuda" else told == 0


@pytest.mark.gpu
def test_a_network_that_goes_leaves_the_others_their_memory() -> None:
    """What cuBLAS uses belonged to a stream, and went with the first graph captured on it."""
    parts = Parts("lstm", "cuda")
    kept, tokens_b, state = parts.network(), tokens(64), parts.state(64)
    before_bv, _ = kept.step(tokens_b, state)
    for _ in range(40):  # more than torch has streams
        parts.network().step(tokens_b, state)
    torch.cuda.empty_cache()
    after_bv, _ = kept.step(tokens_b, state)
    assert torch.equal(after_bv, before_bv)
