"""Single timesteps on a GPU as CUDA graphs.

A timestep is a dozen kernels that each take less time to run than to launch; a graph launches them
as one. Where Triton runs, all that follows a layer's products is one kernel (`triton_step`).
"""

import logging
import threading
from collections.abc import Callable
from functools import cache, partial
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional

from rnn.cells import CellState, CellWeights
from rnn.config import MINIMAL_CELLS, CellName
from rnn.plain import minimal_parts
from rnn.stack import RecurrentStack, layer_state
from rnn.state import HiddenState

log = logging.getLogger(__name__)

MOST_ROWS = 256  # of one graph
_WARM_UPS = 3  # runs before a capture, in which libraries choose and load their kernels

_capturing = threading.Lock()  # torch captures one graph at a time


class Product:
    """x @ weight.T + bias; rounded: both factors are bfloat16, and the sum float32."""

    def __init__(self, weight_od: Tensor, bias_o: Tensor, *, rounded: bool) -> None:
        self.size = len(weight_od)
        self._weight_do = (weight_od.bfloat16() if rounded else weight_od).T
        self._bias_o = bias_o
        self._rounded = rounded

    def __call__(self, x_bd: Tensor, bias_bo: Tensor | None = None) -> Tensor:
        """[B, O], with a bias for each row if given."""
        bias = self._bias_o if bias_bo is None else bias_bo
        if not self._rounded:
            return torch.addmm(bias, x_bd, self._weight_do)
        x_bd = x_bd.bfloat16()
        if x_bd.is_cuda:
            return torch.mm(x_bd, self._weight_do, torch.float32).add_(bias)
        # Only on a GPU does torch give the sum as it is.
        return torch.addmm(bias, x_bd.float(), self._weight_do.float())


class Steps:
    """Timesteps of at most MOST_ROWS rows: buffers that stay where they are, and for each padded
    number of rows a graph that reads and writes them, captured when it is first asked for.

    All graphs share the buffers and their scratch memory, so however many there are, they take
    hardly more than the largest alone.
    """

    def __init__(
        self,
        stack: RecurrentStack,
        embedding_vd: Tensor | None,
        output: Product | None,
        *,
        rounded: bool,
    ) -> None:
        assert not stack.bidirectional, "what comes later cannot be stepped"
        layers = stack.recurrent_layers()
        self._cell = layers[0].cell
        self._gates = [
            _gates(layer.cell, layer.weights(), embedding_vd if index == 0 else None, rounded)
            for index, layer in enumerate(layers)
        ]
        self._norms = [norm if norm.state_dict() else None for norm in stack.norms]
        self._residual = stack.residual
        self._embedding_vd = embedding_vd
        self._output = output
        device = next(stack.parameters()).device
        self._state = stack.initial_state(MOST_ROWS)
        width = stack.output_size if output is None else output.size
        self._result = torch.zeros(MOST_ROWS, width, device=device)
        # Tokens read and tokens drawn share a place: a drawn token is the next one read.
        if embedding_vd is None:
            input_size = layers[0].weights().input_weight_gd.shape[1]
            self._inputs = torch.zeros(MOST_ROWS, input_size, device=device)
            self._draws = False
        else:
            self._inputs = torch.zeros(MOST_ROWS, dtype=torch.int64, device=device)
            self._draws = output is not None and output.size == len(embedding_vd)
        self._lock = threading.Lock()
        self._replays: dict[int, Callable[[], None]] = {}
        self._advance = advance
        self._on_gpu = device.type == "cuda"
        self._device_index = device.index if self._on_gpu else -1  # -1: torch leaves it alone
        if self._on_gpu:
            self._pool = torch.cuda.graph_pool_handle()
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            triton_step = _triton_step(device)
            if triton_step is not None and self._cell in triton_step.CELLS:
                self._advance = triton_step.advance

    @property
    def scratch_bytes(self) -> int:
        """Of the GPU's memory that the graphs compute in, which no tensor shows."""
        if not self._on_gpu:
            return 0
        segments = torch.cuda.memory_snapshot(self._pool)  # type: ignore[no-untyped-call]
        return sum(segment["total_size"] for segment in segments)

    def run(self, x: Tensor, state: HiddenState, draws: int) -> tuple[Tensor, HiddenState, Tensor]:
        """One timestep, or as many as there are draws: the result, the state after it, and the
        tokens drawn [draws, B]."""
        assert self._draws or not draws, "only scores of the tokens that are read can be drawn from"
        rows = len(x)
        padded = padded_rows(rows)
        buffers = rows_of(self._state, slice(rows))
        with self._lock, torch.cuda.device(self._device_index):
            if padded not in self._replays:
                self._replays[padded] = self._captured(partial(self._launch, padded))
            if self._on_gpu:  # what the last caller launched may run on another stream
                torch.cuda.current_stream().wait_event(self._done)
            self._inputs[:rows].copy_(x, non_blocking=True)
            buffers.hidden_lbh.copy_(state.hidden_lbh, non_blocking=True)
            if buffers.memory_lbm is not None:
                assert state.memory_lbm is not None
                buffers.memory_lbm.copy_(state.memory_lbm, non_blocking=True)
            drawn_sb = self._inputs.new_empty(draws, rows)
            for step in range(max(1, draws)):
                self._replays[padded]()
                if draws:
                    drawn_sb[step].copy_(self._inputs[:rows])
            result, end = self._result[:rows].clone(), each(buffers, Tensor.clone)
            if self._on_gpu:
                self._done.record()
        return result, end, drawn_sb

    def _launch(self, rows: int) -> None:
        """One timestep in the buffers; the state is taken on in its place."""
        x = self._inputs[:rows]
        state = rows_of(self._state, slice(rows))
        for index, (gates, norm) in enumerate(zip(self._gates, self._norms, strict=True)):
            layer = layer_state(state, index)
            self._advance(self._cell, *gates(x, layer.hidden_bh), layer)
            y_bh = layer.hidden_bh if norm is None else norm(layer.hidden_bh)
            if self._residual:
                table_vd = self._embedding_vd if index == 0 else None
                input_bd = x if table_vd is None else functional.embedding(x, table_vd)
                if input_bd.shape == y_bh.shape:
                    y_bh = input_bd + y_bh
            x = y_bh
        result = self._result[:rows]
        result.copy_(x if self._output is None else self._output(x))
        if self._draws:
            torch.argmax(result, dim=1, out=self._inputs[:rows])

    def _captured(self, launch: Callable[[], None]) -> Callable[[], None]:
        """Overwrites the buffers."""
        if not self._on_gpu:
            return launch
        graph = torch.cuda.CUDAGraph()
        with _capturing:
            torch.cuda.synchronize()
            with torch.cuda.stream(self._stream):
                for _ in range(_WARM_UPS):
                    launch()
            torch.cuda.synchronize()
            # Scratch memory that cuBLAS holds for a stream goes when any graph captured on the
            # stream goes, though others still use it (pytorch/pytorch#193402). Taken anew during
            # the capture and let go after it, it lies in the memory of these graphs instead.
            torch._C._cuda_clearCublasWorkspaces()
            try:
                with torch.cuda.graph(
                    graph,
                    pool=self._pool,
                    stream=self._stream,
                    capture_error_mode="thread_local",  # other threads may go on
                ):
                    launch()
            finally:
                torch._C._cuda_clearCublasWorkspaces()
        return graph.replay


def padded_rows(rows: int) -> int:
    """How many rows the graph has that steps so many: a power of two."""
    assert 0 <= rows <= MOST_ROWS
    return 1 << max(0, rows - 1).bit_length()


def each(state: HiddenState, change: Callable[[Tensor], Tensor]) -> HiddenState:
    """The state with the same change of all it holds, [L, B, ..] each."""
    memory_lbm = state.memory_lbm
    return HiddenState(change(state.hidden_lbh), None if memory_lbm is None else change(memory_lbm))


def rows_of(state: HiddenState, rows: slice) -> HiddenState:
    """Some rows, in the same memory."""
    return each(state, lambda part_lbh: part_lbh[:, rows])


# From the layer's input, tokens [B] or [B, D], and its hidden state [B, H] to its gates before
# their activation [B, G*H], and the recurrent part of a GRU's, which stays apart.
_Gates = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]


def _gates(cell: CellName, weights: CellWeights, table_vd: Tensor | None, rounded: bool) -> _Gates:
    """A layer's products; of tokens, the input's are looked up."""
    input_weight_gd, recurrent_weight_gh, input_bias_g, recurrent_bias_g = weights
    from_input: Callable[[Tensor], Tensor] = Product(input_weight_gd, input_bias_g, rounded=rounded)
    if table_vd is not None:
        folded_vg = functional.linear(table_vd, input_weight_gd, input_bias_g)
        from_input = partial(functional.embedding, weight=folded_vg)
    if cell in MINIMAL_CELLS:
        return lambda x, _: (from_input(x), None)
    assert recurrent_weight_gh is not None
    assert recurrent_bias_g is not None
    from_hidden = Product(recurrent_weight_gh, recurrent_bias_g, rounded=rounded)
    if cell == "gru":
        return lambda x, hidden_bh: (from_input(x), from_hidden(hidden_bh))
    if table_vd is not None:
        folded_vg += recurrent_bias_g
        return lambda x, hidden_bh: (from_hidden(hidden_bh, from_input(x)), None)
    both_weights = torch.cat([input_weight_gd, recurrent_weight_gh], dim=1)
    both = Product(both_weights, input_bias_g + recurrent_bias_g, rounded=rounded)
    return lambda x, hidden_bh: (both(torch.cat([x, hidden_bh], dim=1)), None)


def advance(
    cell: CellName, gates_bg: Tensor, recurrent_bg: Tensor | None, state: CellState
) -> None:
    """Takes the state one timestep on, in its place.

    Args:
        gates_bg: before their activation, in the order of `rnn.cells`.
        recurrent_bg: a GRU's recurrent part, which `gates_bg` is then without.
    """
    hidden_bh, memory_bh = state
    match cell:
        case "lstm":
            assert memory_bh is not None
            in_preact, forget_preact, cell_preact, out_preact = gates_bg.chunk(4, dim=1)
            memory_bh.mul_(torch.sigmoid(forget_preact))
            memory_bh.addcmul_(torch.sigmoid(in_preact), torch.tanh(cell_preact))
            torch.mul(torch.sigmoid(out_preact), torch.tanh(memory_bh), out=hidden_bh)
        case "gru":
            assert recurrent_bg is not None
            input_reset, input_update, input_new = gates_bg.chunk(3, dim=1)
            hidden_reset, hidden_update, hidden_new = recurrent_bg.chunk(3, dim=1)
            reset_gate = torch.sigmoid(input_reset + hidden_reset)
            update_gate = torch.sigmoid(input_update + hidden_update)
            new_gate = torch.tanh(torch.addcmul(input_new, reset_gate, hidden_new))
            torch.lerp(new_gate, hidden_bh, update_gate, out=hidden_bh)
        case "rnn_tanh":
            torch.tanh(gates_bg, out=hidden_bh)
        case "rnn_relu":
            torch.clamp_min(gates_bg, 0, out=hidden_bh)
        case "mingru" | "minlstm":
            decay_bh, addend_bh = minimal_parts(cell, gates_bg)
            torch.addcmul(addend_bh, decay_bh, hidden_bh, out=hidden_bh)


@cache
def _triton_step(device: torch.device) -> ModuleType | None:
    """None where Triton does not run: it needs a C compiler on the machine, too."""
    try:
        from rnn.kernels import triton_step

        with torch.cuda.device(device):
            state = CellState(torch.zeros(1, 1, device=device))
            triton_step.advance("mingru", torch.zeros(1, 2, device=device), None, state)
    except Exception as error:  # of many kinds, from a missing package to a missing header
        log.warning("single timesteps on the GPU go without Triton: %s", error)
        return None
    return triton_step
