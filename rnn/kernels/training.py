"""Training on a CPU: the recurrences in C++, forwards and back, and the large products in torch.

The same results as `rnn.plain`. Rows are packed by timestep, the longest first, so that padding
costs nothing; the backward direction reads the same packed rows from each one's end.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import increment_version

from rnn.cells import CellState, CellWeights
from rnn.config import GATES_PER_CELL, MINIMAL_CELLS, CellName
from rnn.kernels import library
from rnn.kernels.library import CELL_NUMBERS, PRECISION_NUMBERS, Library, threads_here

TrainingPrecision = Literal["float32", "bfloat16"]


def available(x_btd: Tensor, precision: TrainingPrecision) -> bool:
    """Whether `recurrence` can take these inputs, and is the faster way."""
    if x_btd.device.type != "cpu" or x_btd.dtype != torch.float32 or library.load() is None:
        return False
    # Without oneDNN's bfloat16 kernels torch's products are slower than in float32.
    return precision == "float32" or _bfloat16_is_fast()


def recurrence(
    cell: CellName,
    weights: CellWeights,
    x_btd: Tensor,
    state: CellState | None = None,
    lengths_b: Tensor | None = None,
    *,
    backwards: bool = False,
    hidden_mask_bh: Tensor | None = None,
    precision: TrainingPrecision = "float32",
) -> tuple[Tensor, CellState]:
    """Outputs [B, T, H] at every timestep, and the state after each row's last one.

    Gradients flow to the inputs, the weights and the state. All tensors are float32, on the CPU;
    it takes as many threads as torch would in the calling thread, or as that chose
    (`library.use_threads`). A graph can be walked back once.

    Args:
        x_btd: [B, T, D], rows padded at the end; padding is not read.
        state: start; zeros if None.
        lengths_b: timesteps of each row, at least one; all T if None. Outputs on padding are 0.
        backwards: each row is read from its last timestep to its first; the state is the one after
            the first. Outputs stand at the timestep whose input was read last.
        hidden_mask_bh: multiplies the hidden state on its way into the recurrent product, the same
            at all timesteps (Gal and Ghahramani 2016); for the minimal cells None.
        precision: bfloat16: of the products and of what is kept for the way back; sums and states
            stay float32.
    """
    kernels = library.load()
    assert kernels is not None
    assert hidden_mask_bh is None or cell not in MINIMAL_CELLS
    start = (None, None) if state is None else state
    batch, timesteps, inputs = x_btd.shape
    gates = len(weights.input_bias_g)
    hidden_size = gates // GATES_PER_CELL[cell]
    for tensor, shape in (
        (x_btd, x_btd.shape),
        (weights.input_weight_gd, (gates, inputs)),
        (weights.recurrent_weight_gh, (gates, hidden_size)),
        (weights.input_bias_g, (hidden_size * GATES_PER_CELL[cell],)),
        (weights.recurrent_bias_g, (gates,)),
        *((tensor, (batch, hidden_size)) for tensor in (*start, hidden_mask_bh)),
    ):
        _check(tensor, shape)
    packing = _packing(lengths_b, batch, timesteps)
    call = _Call(kernels, cell, precision, packing, backwards)
    y_bth, hidden_bh, cell_bh = _Recurrence.apply(call, x_btd, *weights, *start, hidden_mask_bh)  # type: ignore[no-untyped-call]
    return y_bth, CellState(hidden_bh, cell_bh)


def _check(tensor: Tensor | None, shape: tuple[int, ...]) -> None:
    """The kernels read memory by its address, so nothing else would tell what does not fit."""
    if tensor is None:
        return
    if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
        found = f"{tensor.dtype} on {tensor.device}"
        raise ValueError(f"The kernels need float32 tensors on the CPU, not {found}.")
    if tensor.shape != shape:
        raise ValueError(f"A tensor of shape {list(shape)} is needed, not {list(tensor.shape)}.")


class _Packing(NamedTuple):
    """How the rows of a padded batch are packed: N rows, those of one timestep side by side."""

    batch: int
    timesteps: int
    batch_sizes_t: Tensor  # rows that have each timestep
    # None where all rows have all timesteps, and need no sorting:
    order_b: Tensor | None = None  # the rows from the longest to the shortest
    places_b: Tensor | None = None  # of each row in that order
    index_n: Tensor | None = None  # of each packed row in [B * T]
    ends_b: Tensor | None = None  # of each row's last timestep among the packed ones

    def pack(self, x_btd: Tensor, dtype: torch.dtype) -> Tensor:
        """[N, D], in the given precision."""
        if self.index_n is not None:
            return x_btd.reshape(-1, x_btd.shape[2]).index_select(0, self.index_n).to(dtype)
        x_tbd = x_btd.transpose(0, 1)
        if x_btd.dtype != dtype:
            x_tbd = torch.empty(x_tbd.shape, dtype=dtype).copy_(x_tbd)
        return x_tbd.reshape(-1, x_btd.shape[2]).contiguous()

    def unpack(self, packed_nh: Tensor) -> Tensor:
        """[B, T, H] in float32, padding 0."""
        width = packed_nh.shape[1]
        if self.index_n is None:
            return packed_nh.view(self.timesteps, self.batch, width).float().transpose(0, 1)
        out = torch.zeros(self.batch * self.timesteps, width)
        return out.index_copy_(0, self.index_n, packed_nh.float()).view(self.batch, -1, width)

    def sort(self, rows_bh: Tensor) -> Tensor:
        """A copy of a state's rows in the order of the packed ones."""
        if self.order_b is None:
            return rows_bh.clone(memory_format=torch.contiguous_format)
        return rows_bh.index_select(0, self.order_b)

    def unsort(self, rows_bh: Tensor) -> Tensor:
        return rows_bh if self.places_b is None else rows_bh.index_select(0, self.places_b)

    def last(self, states_nh: Tensor, *, backwards: bool) -> Tensor:
        """Each row's state after the timestep that was read last, as a copy."""
        if backwards:
            return self.unsort(states_nh[: self.batch].clone())
        if self.ends_b is None:
            return states_nh[-self.batch :].clone()
        return states_nh.index_select(0, self.ends_b)


def _packing(lengths_b: Tensor | None, batch: int, timesteps: int) -> _Packing:
    if timesteps < 1:
        raise ValueError("The rows have no timesteps.")
    if lengths_b is None or bool((lengths_b == timesteps).all()):
        return _Packing(batch, timesteps, torch.full((timesteps,), batch))
    sorted_b, order_b = lengths_b.long().sort(descending=True, stable=True)
    if lengths_b.shape != (batch,) or sorted_b[-1] < 1 or sorted_b[0] > timesteps:
        raise ValueError(f"Lengths of {batch} rows from 1 to {timesteps} are needed.")
    time_t = torch.arange(int(sorted_b[0]))
    present_tb = time_t[:, None] < sorted_b
    batch_sizes_t = present_tb.sum(1)
    index_n = (order_b * timesteps + time_t[:, None])[present_tb]
    places_b = torch.empty_like(order_b)
    places_b[order_b] = torch.arange(batch)
    starts_t = batch_sizes_t.cumsum(0) - batch_sizes_t
    ends_b = starts_t[lengths_b - 1] + places_b
    return _Packing(batch, timesteps, batch_sizes_t, order_b, places_b, index_n, ends_b)


@dataclass(frozen=True)
class _Call:
    """What a recurrence is told besides its tensors."""

    kernels: Library
    cell: CellName
    precision: TrainingPrecision
    packing: _Packing
    backwards: bool

    def sorted_state(self, given_bh: Tensor | None, gates_g: Tensor) -> Tensor:
        """A copy in the order of the packed rows; zeros for None. `gates_g`: of their number."""
        if given_bh is not None:
            return self.packing.sort(given_bh)
        return torch.zeros(self.packing.batch, len(gates_g) // GATES_PER_CELL[self.cell])

    @property
    def wide(self) -> torch.dtype:
        return torch.float32 if self.precision == "float32" else torch.bfloat16

    def run(self, name: str, hidden_size: int, *tensors: Tensor | None) -> None:
        """A training function of native/kernels.h; the tensors are those that it names."""
        sizes_t = self.packing.batch_sizes_t
        getattr(self.kernels.functions, name)(
            self.kernels.pool(threads_here() or torch.get_num_threads()),
            CELL_NUMBERS[self.cell],
            PRECISION_NUMBERS[self.precision],
            len(sizes_t),
            sizes_t.data_ptr(),
            hidden_size,
            int(self.backwards),
            *(None if tensor is None else tensor.data_ptr() for tensor in tensors),
        )


class _Kept(NamedTuple):
    """What the way back needs: rows packed, states sorted. `wide` arrays are of the precision."""

    x_nd: Tensor  # wide
    input_weight_gd: Tensor
    recurrent_weight_gh: Tensor | None
    bias_g: Tensor
    hidden_mask_bh: Tensor | None
    hidden_start_bh: Tensor
    cell_start_bh: Tensor | None
    hidden_nh: Tensor
    cell_nh: Tensor | None
    gates_ng: Tensor  # wide
    recurrent_input_nh: Tensor | None  # wide
    recurrent_new_nh: Tensor | None  # wide


class _Recurrence(torch.autograd.Function):
    """Products are in the call's precision, whatever autocast would make of them."""

    @staticmethod
    def forward(
        ctx: Any,
        call: _Call,
        x_btd: Tensor,
        input_weight_gd: Tensor,
        recurrent_weight_gh: Tensor | None,
        input_bias_g: Tensor,
        recurrent_bias_g: Tensor | None,
        hidden_start_bh: Tensor | None,
        cell_start_bh: Tensor | None,
        hidden_mask_bh: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        packing = call.packing
        weights = CellWeights(input_weight_gd, recurrent_weight_gh, input_bias_g, recurrent_bias_g)
        start = CellState(
            call.sorted_state(hidden_start_bh, input_bias_g),
            call.sorted_state(cell_start_bh, input_bias_g) if call.cell == "lstm" else None,
        )
        with torch.autocast("cpu", enabled=False):
            kept = _forward(
                call,
                packing.pack(x_btd, call.wide),
                weights,
                start,
                None if hidden_mask_bh is None else packing.sort(hidden_mask_bh),
            )
        ctx.call = call
        ctx.save_for_backward(*kept)
        ctx.set_materialize_grads(False)
        end_bh = packing.last(kept.hidden_nh, backwards=call.backwards)
        cell_end_bh = None
        if kept.cell_nh is not None:
            cell_end_bh = packing.last(kept.cell_nh, backwards=call.backwards)
        return packing.unpack(kept.hidden_nh), end_bh, cell_end_bh

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, y_bth: Tensor | None, hidden_bh: Tensor | None, cell_bh: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):
            gradients = _backward(
                ctx.call, _Kept(*ctx.saved_tensors), ctx.needs_input_grad, y_bth, hidden_bh, cell_bh
            )
        return tuple(
            gradient if wanted else None
            for gradient, wanted in zip(gradients, ctx.needs_input_grad, strict=True)
        )


def _forward(
    call: _Call,
    x_nd: Tensor,
    weights: CellWeights,
    start: CellState,
    hidden_mask_bh: Tensor | None,
) -> _Kept:
    hidden_size = start.hidden_bh.shape[1]
    states = (len(x_nd), hidden_size)
    recurrent_weight_gh = recurrent_input_nh = None
    if weights.recurrent_weight_gh is not None:
        recurrent_weight_gh = weights.recurrent_weight_gh.contiguous()
        recurrent_input_nh = torch.empty(states, dtype=call.wide)
    bias_g, new_bias_h = _native_biases(call.cell, weights)
    kept = _Kept(
        x_nd=x_nd,
        input_weight_gd=weights.input_weight_gd,
        recurrent_weight_gh=recurrent_weight_gh,
        bias_g=bias_g,
        hidden_mask_bh=hidden_mask_bh,
        hidden_start_bh=start.hidden_bh,
        cell_start_bh=start.memory_bm,
        hidden_nh=torch.empty(states),
        cell_nh=torch.empty(states) if call.cell == "lstm" else None,
        gates_ng=_product(x_nd, weights.input_weight_gd.to(call.wide).T),
        recurrent_input_nh=recurrent_input_nh,
        recurrent_new_nh=torch.empty(states, dtype=call.wide) if call.cell == "gru" else None,
    )
    call.run(
        "rk_train_forward",
        hidden_size,
        kept.gates_ng,
        kept.recurrent_weight_gh,
        kept.bias_g,
        new_bias_h,
        kept.hidden_mask_bh,
        kept.hidden_start_bh,
        kept.cell_start_bh,
        kept.hidden_nh,
        kept.cell_nh,
        kept.recurrent_input_nh,
        kept.recurrent_new_nh,
    )
    return kept


def _backward(
    call: _Call,
    kept: _Kept,
    wanted: tuple[bool, ...],
    y_gradient_bth: Tensor | None,
    hidden_gradient_bh: Tensor | None,
    cell_gradient_bh: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """Gradients in the order of the arguments of `_Recurrence.forward`; `wanted`: which of them."""
    packing, gates_ng = call.packing, kept.gates_ng
    hidden_size = kept.hidden_nh.shape[1]
    if y_gradient_bth is None:
        gradient_nh = torch.zeros_like(kept.hidden_nh)
    else:
        gradient_nh = packing.pack(y_gradient_bth, torch.float32)
    hidden_bh = call.sorted_state(hidden_gradient_bh, kept.bias_g)
    cell_bh = call.sorted_state(cell_gradient_bh, kept.bias_g) if call.cell == "lstm" else None
    bias_gradient_g = torch.zeros_like(kept.bias_g)
    new_bias_gradient_h = torch.zeros(hidden_size) if call.cell == "gru" else None
    call.run(
        "rk_train_backward",
        hidden_size,
        gates_ng,
        kept.recurrent_weight_gh,
        kept.bias_g,
        kept.hidden_mask_bh,
        kept.hidden_start_bh,
        kept.cell_start_bh,
        kept.hidden_nh,
        kept.cell_nh,
        kept.recurrent_new_nh,
        gradient_nh,
        hidden_bh,
        cell_bh,
        bias_gradient_g,
        new_bias_gradient_h,
    )
    increment_version(gates_ng)  # they are gradients now: going back again is an error
    x_gradient_btd = input_weight_gradient_gd = recurrent_weight_gradient_gh = None
    if wanted[1]:
        x_gradient_nd = _product(gates_ng, kept.input_weight_gd.to(call.wide))
        x_gradient_btd = packing.unpack(x_gradient_nd)
    if wanted[2]:
        input_weight_gradient_gd = _weight_gradient(gates_ng, kept.x_nd)
    recurrent_bias_gradient_g = bias_gradient_g
    if kept.recurrent_input_nh is not None and kept.recurrent_new_nh is None:
        recurrent_weight_gradient_gh = _weight_gradient(gates_ng, kept.recurrent_input_nh)
    elif kept.recurrent_input_nh is not None:
        assert kept.recurrent_new_nh is not None
        assert new_bias_gradient_h is not None
        shared = 2 * hidden_size  # the reset gate stands between the two parts of the new one
        recurrent_weight_gradient_gh = torch.cat(
            [
                _weight_gradient(gates_ng[:, :shared], kept.recurrent_input_nh),
                _weight_gradient(kept.recurrent_new_nh, kept.recurrent_input_nh),
            ]
        )
        recurrent_bias_gradient_g = torch.cat([bias_gradient_g[:shared], new_bias_gradient_h])
    return (
        None,
        x_gradient_btd,
        input_weight_gradient_gd,
        recurrent_weight_gradient_gh,
        bias_gradient_g,
        recurrent_bias_gradient_g,
        packing.unsort(hidden_bh),
        None if cell_bh is None else packing.unsort(cell_bh),
        None,
    )


def _native_biases(cell: CellName, weights: CellWeights) -> tuple[Tensor, Tensor | None]:
    """What is added to the gates' sums, and the GRU's recurrent bias of the new gate."""
    input_bias_g, recurrent_bias_g = weights.input_bias_g, weights.recurrent_bias_g
    if recurrent_bias_g is None:
        return input_bias_g.contiguous(), None
    if cell != "gru":
        return input_bias_g + recurrent_bias_g, None
    shared = len(input_bias_g) // 3 * 2
    bias_g = input_bias_g.clone(memory_format=torch.contiguous_format)
    bias_g[:shared] += recurrent_bias_g[:shared]
    return bias_g, recurrent_bias_g[shared:].contiguous()


# ---- products ----------------------------------------------------------------------------------

_LARGE = 1 << 24  # multiplications from which on preparing one for oneDNN is worth it


def _product(a_nk: Tensor, b_km: Tensor) -> Tensor:
    """[N, M]. In float32 torch asks MKL, which takes twice oneDNN's time on some processors."""
    large = a_nk.numel() * b_km.shape[1] > _LARGE
    if a_nk.dtype == torch.float32 and large and _has_onednn():
        # It has no fast kernel for rows with gaps between them.
        a_nk, b_mk = _without_gaps(a_nk), _without_gaps(b_km.T)
        product_nm: Tensor = torch.ops.mkldnn._linear_pointwise(a_nk, b_mk, None, "none", [], "")
        return product_nm
    return a_nk @ b_km


def _without_gaps(matrix: Tensor) -> Tensor:
    return matrix if matrix.T.is_contiguous() else matrix.contiguous()


def _weight_gradient(gradient_ng: Tensor, input_nd: Tensor) -> Tensor:
    """[G, D] in float32. The product reads the narrower matrix across: that is faster."""
    product_dg = _product(input_nd.T, gradient_ng)
    return torch.empty(product_dg.T.shape).copy_(product_dg.T)


@cache
def _has_onednn() -> bool:
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")


@cache
def _bfloat16_is_fast() -> bool:
    return _has_onednn() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
