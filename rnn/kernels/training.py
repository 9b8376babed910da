"""Training on a CPU: the recurrences in C++, forwards and back, and the large products in torch.

The same results as `rnn.plain`. Rows are packed by timestep, the longest first, so that padding
costs nothing; the backward direction reads the same packed rows from each one's end.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import increment_version

from rnn.cells import CellState, CellWeights
from rnn.config import GATES_PER_CELL, MINIMAL_CELLS, CellName
from rnn.kernels import library
from rnn.kernels.library import CELL_NUMBERS, PRECISION_NUMBERS, Library

TrainingPrecision = Literal["float32", "bfloat16"]


def available(x_btd: Tensor, precision: TrainingPrecision) -> bool:
    """Whether `recurrence` can take these inputs, and is the faster way."""
    if x_btd.device.type != "cpu" or x_btd.dtype != torch.float32 or library.load() is None:
        return False
    # Without the instructions torch's products in bfloat16 are slower than those in float32.
    return precision == "float32" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


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
    it takes as many threads as torch would in the calling thread. A graph can be walked back once.

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
    batch, timesteps, _ = x_btd.shape
    packing = _packing(lengths_b, batch, timesteps)
    call = _Call(kernels, cell, precision, packing, backwards)
    start = (None, None) if state is None else state
    y_bth, hidden_bh, cell_bh = _Recurrence.apply(call, x_btd, *weights, *start, hidden_mask_bh)  # type: ignore[no-untyped-call]
    return y_bth, CellState(hidden_bh, cell_bh)


class _Packing(NamedTuple):
    """How the rows of a padded batch are packed: N rows, those of one timestep side by side."""

    batch: int
    timesteps: int
    batch_sizes_t: Tensor  # rows that have each timestep
    # None of these for rows that are all of one length, which need no sorting:
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
        return x_tbd.reshape(-1, x_btd.shape[2])

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
    if lengths_b is None or bool((lengths_b == timesteps).all()):
        return _Packing(batch, timesteps, torch.full((timesteps,), batch))
    sorted_b, order_b = lengths_b.long().sort(descending=True, stable=True)
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

    @property
    def wide(self) -> torch.dtype:
        return torch.float32 if self.precision == "float32" else torch.bfloat16

    def run(self, name: str, hidden_size: int, *tensors: Tensor | None) -> None:
        """A training function of native/kernels.h; the tensors are those that it names."""
        sizes_t = self.packing.batch_sizes_t
        getattr(self.kernels.functions, name)(
            self.kernels.pool(torch.get_num_threads()),
            CELL_NUMBERS[self.cell],
            PRECISION_NUMBERS[self.precision],
            len(sizes_t),
            sizes_t.data_ptr(),
            hidden_size,
            int(self.backwards),
            *(None if tensor is None else tensor.data_ptr() for tensor in tensors),
        )


class _Recurrence(torch.autograd.Function):
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
        packing, wide = call.packing, call.wide
        hidden_size = len(input_bias_g) // GATES_PER_CELL[call.cell]

        def start(given_bh: Tensor | None) -> Tensor:
            if given_bh is None:
                return torch.zeros(packing.batch, hidden_size)
            return packing.sort(given_bh)

        x_nd = packing.pack(x_btd, wide)
        gates_ng = x_nd @ input_weight_gd.to(wide).T
        rows = len(x_nd)
        hidden_start_bh = start(hidden_start_bh)
        cell_start_bh = start(cell_start_bh) if call.cell == "lstm" else None
        hidden_nh = torch.empty(rows, hidden_size)
        cell_nh = torch.empty_like(hidden_nh) if call.cell == "lstm" else None
        bias_g, new_bias_h = _native_biases(call.cell, input_bias_g, recurrent_bias_g)
        recurrent_input_nh = recurrent_new_nh = None
        if recurrent_weight_gh is not None:
            recurrent_weight_gh = recurrent_weight_gh.contiguous()
            recurrent_input_nh = torch.empty(rows, hidden_size, dtype=wide)
        if call.cell == "gru":
            recurrent_new_nh = torch.empty(rows, hidden_size, dtype=wide)
        if hidden_mask_bh is not None:
            hidden_mask_bh = packing.sort(hidden_mask_bh)
        call.run(
            "rk_train_forward",
            hidden_size,
            gates_ng,
            recurrent_weight_gh,
            bias_g,
            new_bias_h,
            hidden_mask_bh,
            hidden_start_bh,
            cell_start_bh,
            hidden_nh,
            cell_nh,
            recurrent_input_nh,
            recurrent_new_nh,
        )
        ctx.save_for_backward(
            x_nd,
            input_weight_gd,
            recurrent_weight_gh,
            bias_g,
            gates_ng,
            hidden_mask_bh,
            hidden_start_bh,
            cell_start_bh,
            hidden_nh,
            cell_nh,
            recurrent_input_nh,
            recurrent_new_nh,
        )
        ctx.call = call
        ctx.set_materialize_grads(False)
        end_bh = packing.last(hidden_nh, backwards=call.backwards)
        cell_end_bh = None
        if cell_nh is not None:
            cell_end_bh = packing.last(cell_nh, backwards=call.backwards)
        return packing.unpack(hidden_nh), end_bh, cell_end_bh

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,
        y_gradient_bth: Tensor | None,
        hidden_gradient_bh: Tensor | None,
        cell_gradient_bh: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        call: _Call = ctx.call
        packing, wide = call.packing, call.wide
        (
            x_nd,
            input_weight_gd,
            recurrent_weight_gh,
            bias_g,
            gates_ng,
            hidden_mask_bh,
            hidden_start_bh,
            cell_start_bh,
            hidden_nh,
            cell_nh,
            recurrent_input_nh,
            recurrent_new_nh,
        ) = ctx.saved_tensors
        hidden_size = hidden_nh.shape[1]

        def end(given_bh: Tensor | None) -> Tensor:
            return torch.zeros_like(hidden_start_bh) if given_bh is None else packing.sort(given_bh)

        if y_gradient_bth is None:
            gradient_nh = torch.zeros_like(hidden_nh)
        else:
            gradient_nh = packing.pack(y_gradient_bth, torch.float32)
        hidden_gradient_bh = end(hidden_gradient_bh)
        cell_gradient_bh = None if cell_nh is None else end(cell_gradient_bh)
        bias_gradient_g = torch.zeros_like(bias_g)
        new_gradient_h = None if recurrent_new_nh is None else bias_g.new_zeros(hidden_size)
        call.run(
            "rk_train_backward",
            hidden_size,
            gates_ng,
            recurrent_weight_gh,
            bias_g,
            hidden_mask_bh,
            hidden_start_bh,
            cell_start_bh,
            hidden_nh,
            cell_nh,
            recurrent_new_nh,
            gradient_nh,
            hidden_gradient_bh,
            cell_gradient_bh,
            bias_gradient_g,
            new_gradient_h,
        )
        increment_version(gates_ng)  # they are gradients now: walking back again is an error
        x_gradient_btd = input_weight_gradient_gd = recurrent_weight_gradient_gh = None
        if ctx.needs_input_grad[1]:
            x_gradient_btd = packing.unpack(gates_ng @ input_weight_gd.to(wide))
        if ctx.needs_input_grad[2]:
            input_weight_gradient_gd = (gates_ng.T @ x_nd).float()
        if ctx.needs_input_grad[3]:
            if recurrent_new_nh is None:
                recurrent_weight_gradient_gh = (gates_ng.T @ recurrent_input_nh).float()
            else:
                shared = gates_ng[:, : 2 * hidden_size].T @ recurrent_input_nh
                recurrent_weight_gradient_gh = torch.cat(
                    [shared, recurrent_new_nh.T @ recurrent_input_nh]
                ).float()
        recurrent_bias_gradient_g = bias_gradient_g
        if new_gradient_h is not None:
            recurrent_bias_gradient_g = torch.cat(
                [bias_gradient_g[: 2 * hidden_size], new_gradient_h]
            )
        gradients = (
            None,
            x_gradient_btd,
            input_weight_gradient_gd,
            recurrent_weight_gradient_gh,
            bias_gradient_g,
            recurrent_bias_gradient_g,
            packing.unsort(hidden_gradient_bh),
            None if cell_gradient_bh is None else packing.unsort(cell_gradient_bh),
            None,
        )
        wanted = ctx.needs_input_grad
        return tuple(g if w else None for g, w in zip(gradients, wanted, strict=True))


def _native_biases(
    cell: CellName, input_bias_g: Tensor, recurrent_bias_g: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """What is added to the gates' sums, and the GRU's recurrent bias of the new gate."""
    if recurrent_bias_g is None:
        return input_bias_g.contiguous(), None
    if cell != "gru":
        return input_bias_g + recurrent_bias_g, None
    shared = len(input_bias_g) // 3 * 2
    bias_g = input_bias_g.clone()
    bias_g[:shared] += recurrent_bias_g[:shared]
    return bias_g, recurrent_bias_g[shared:].contiguous()
