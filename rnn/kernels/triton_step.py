"""The end of a timestep in one launch: from a cell's gates to its new state, as
`rnn.kernels.cuda_steps` does it in several of torch's.

Triton comes with torch for CUDA alone: only what has found a GPU imports this module.
"""

import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra import libdevice

from rnn.cells import CellState
from rnn.config import CellName

CELLS: tuple[CellName, ...] = ("lstm", "gru", "mingru", "minlstm")  # others are one kernel anyhow
_BLOCK = 256  # numbers that one program computes


def advance(
    cell: CellName, gates_bg: Tensor, recurrent_bg: Tensor | None, state: CellState
) -> None:
    """Does what `rnn.kernels.cuda_steps.advance` does; all tensors are dense and float32.

    The device of the tensors must be the current one.
    """
    hidden_bh, memory_bh = state
    numbers = hidden_bh.numel()
    grid = (triton.cdiv(numbers, _BLOCK),)
    _advance[grid](
        gates_bg,
        recurrent_bg,
        hidden_bh,
        memory_bh,
        numbers,
        CELL=cell,
        GATES=gates_bg.shape[1],
        SIZE=hidden_bh.shape[1],
        BLOCK=_BLOCK,
    )


@triton.jit
def _advance(
    gates_ptr,
    recurrent_ptr,
    hidden_ptr,
    memory_ptr,
    numbers,
    CELL: tl.constexpr,  # noqa: N803  as Triton's own constants are written
    GATES: tl.constexpr,  # noqa: N803
    SIZE: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = place < numbers
    first = place // SIZE * GATES + place % SIZE  # this unit's place in the row's first gate
    hidden = tl.load(hidden_ptr + place, mask=there)
    if CELL == "lstm":
        in_gate = tl.sigmoid(tl.load(gates_ptr + first, mask=there))
        forget_gate = tl.sigmoid(tl.load(gates_ptr + first + SIZE, mask=there))
        cell_gate = libdevice.tanh(tl.load(gates_ptr + first + 2 * SIZE, mask=there))
        out_gate = tl.sigmoid(tl.load(gates_ptr + first + 3 * SIZE, mask=there))
        memory = tl.load(memory_ptr + place, mask=there)
        memory = forget_gate * memory + in_gate * cell_gate
        tl.store(memory_ptr + place, memory, mask=there)
        hidden = out_gate * libdevice.tanh(memory)
    elif CELL == "gru":
        reset_preact = tl.load(gates_ptr + first, mask=there)
        update_preact = tl.load(gates_ptr + first + SIZE, mask=there)
        new_preact = tl.load(gates_ptr + first + 2 * SIZE, mask=there)
        reset_gate = tl.sigmoid(reset_preact + tl.load(recurrent_ptr + first, mask=there))
        update_gate = tl.sigmoid(update_preact + tl.load(recurrent_ptr + first + SIZE, mask=there))
        recurrent_new = tl.load(recurrent_ptr + first + 2 * SIZE, mask=there)
        new_gate = libdevice.tanh(new_preact + reset_gate * recurrent_new)
        hidden = new_gate + update_gate * (hidden - new_gate)
    else:
        if CELL == "mingru":
            update_logit = tl.load(gates_ptr + first, mask=there)
            candidate = tl.load(gates_ptr + first + SIZE, mask=there)
        else:
            tl.static_assert(CELL == "minlstm")
            forget_preact = tl.load(gates_ptr + first, mask=there)
            in_preact = tl.load(gates_ptr + first + SIZE, mask=there)
            candidate = tl.load(gates_ptr + first + 2 * SIZE, mask=there)
            update_logit = _log_sigmoid(in_preact) - _log_sigmoid(forget_preact)
        value = tl.where(candidate >= 0, candidate + 0.5, tl.sigmoid(candidate))
        hidden = tl.sigmoid(-update_logit) * hidden + tl.sigmoid(update_logit) * value
    tl.store(hidden_ptr + place, hidden, mask=there)


@triton.jit
def _log_sigmoid(x):
    return tl.minimum(x, 0.0) - libdevice.log1p(tl.exp(-tl.abs(x)))
