"""One direction of a recurrent layer in pure torch: works everywhere, for every cell."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnn.cells import CellState, CellWeights, positive
from rnn.config import GATES_PER_CELL, MINIMAL_CELLS, CellName
from rnn.scan import linear_scan


class MinimalParameters(nn.Module):
    """Parameters of a minimal cell, named like those of torch's recurrences."""

    def __init__(self, cell: CellName, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        gates = GATES_PER_CELL[cell] * hidden_size
        self.weight_ih_l0 = nn.Parameter(torch.empty(gates, input_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(gates))


# Torch's own modules hold the parameters of the cells that it knows: on a GPU they keep them in the
# one piece that cuDNN wants.
DirectionParameters = nn.RNNBase | MinimalParameters


def direction_parameters(cell: CellName, input_size: int, hidden_size: int) -> DirectionParameters:
    """The parameters of one direction, not initialised."""
    match cell:
        case "lstm":
            return nn.LSTM(input_size, hidden_size)
        case "gru":
            return nn.GRU(input_size, hidden_size)
        case "rnn_tanh" | "rnn_relu":
            return nn.RNN(input_size, hidden_size, nonlinearity=cell.removeprefix("rnn_"))
        case "mingru" | "minlstm":
            return MinimalParameters(cell, input_size, hidden_size)


def cell_weights(parameters: DirectionParameters) -> CellWeights:
    """The parameters by their part in the equations of `rnn.cells`."""
    if isinstance(parameters, MinimalParameters):
        return CellWeights(parameters.weight_ih_l0, None, parameters.bias_ih_l0, None)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return CellWeights(*(getattr(parameters, name) for name in names))


_TORCH_CELLS = {"gru": torch.gru, "rnn_tanh": torch.rnn_tanh, "rnn_relu": torch.rnn_relu}


def run_direction(
    cell: CellName,
    weights: CellWeights,
    x_btd: Tensor,
    state: CellState | None = None,
    lengths_b: Tensor | None = None,
    *,
    backwards: bool = False,
    state_wanted: bool = True,
) -> tuple[Tensor, CellState]:
    """Outputs [B, T, H] at every timestep, and the state after each row's last one.

    Backwards, each row is reversed within its own length, so that padding comes after the row's
    values in both directions and never reaches them; that keeps the dense kernels, which packed
    sequences would lose.

    Args:
        x_btd: [B, T, D], rows padded at the end.
        state: start; zeros if None.
        lengths_b: timesteps of each row, at least one; all T if None. Outputs on padding are
            meaningless.
        backwards: each row is read from its last timestep to its first, and the state is the one
            after the first.
        state_wanted: False: the state of padded rows is meaningless, which saves time.
    """
    if backwards:
        index_bt = None if lengths_b is None else reversal_index(lengths_b, x_btd.shape[1])
        reversed_bth, state = run_direction(
            cell, weights, _reverse(x_btd, index_bt), state, lengths_b, state_wanted=state_wanted
        )
        return _reverse(reversed_bth, index_bt), state
    if cell not in MINIMAL_CELLS and torch.is_autocast_enabled(x_btd.device.type):
        # Torch would round sums and states too; in float32, cuDNN still multiplies in TF32.
        with torch.autocast(x_btd.device.type, enabled=False):
            return run_direction(
                cell, weights, x_btd.float(), state, lengths_b, state_wanted=state_wanted
            )
    ends_b = lengths_b if state_wanted else None
    if state is None:
        state = _zeros(cell, weights, x_btd)
    match cell:
        case "lstm":
            return _lstm(weights, x_btd, state, ends_b)
        case "mingru" | "minlstm":
            gates_btg = functional.linear(x_btd, weights.input_weight_gd, weights.input_bias_g)
            gates_btg = gates_btg.to(weights.input_bias_g.dtype)  # autocast rounds products alone
            y_bth = linear_scan(*minimal_parts(cell, gates_btg), state.hidden_bh)
        case "gru" | "rnn_tanh" | "rnn_relu":
            start_1bh, flat = state.hidden_bh.unsqueeze(0), _flat(weights)
            y_bth, _ = _TORCH_CELLS[cell](
                x_btd, start_1bh, flat, True, 1, 0.0, torch.is_grad_enabled(), False, True
            )
    if ends_b is None:
        return y_bth, CellState(y_bth[:, -1].contiguous())
    rows_b = torch.arange(len(ends_b), device=ends_b.device)
    return y_bth, CellState(y_bth[rows_b, ends_b - 1])


def minimal_parts(cell: CellName, gates_g: Tensor) -> tuple[Tensor, Tensor]:
    """Decay and addend [..., H] of h = decay * h + addend, from a minimal cell's gates before
    their activation [..., G*H].

    The two shares of a minLSTM are taken from the logarithms of its gates, so that gates which are
    both closed do not divide zero by zero.
    """
    if cell == "mingru":
        update_logit, candidate_preact = gates_g.chunk(2, dim=-1)
    else:
        forget_preact, in_preact, candidate_preact = gates_g.chunk(3, dim=-1)
        update_logit = functional.logsigmoid(in_preact) - functional.logsigmoid(forget_preact)
    return torch.sigmoid(-update_logit), torch.sigmoid(update_logit) * positive(candidate_preact)


def _lstm(
    weights: CellWeights, x_btd: Tensor, state: CellState, ends_b: Tensor | None
) -> tuple[Tensor, CellState]:
    assert state.memory_bm is not None
    flat, training = _flat(weights), torch.is_grad_enabled()
    if ends_b is None:
        start = (state.hidden_bh.unsqueeze(0), state.memory_bm.unsqueeze(0))
        y_bth, hidden_1bh, cell_1bh = torch.lstm(
            x_btd, start, flat, True, 1, 0.0, training, False, True
        )
        return y_bth, CellState(hidden_1bh.squeeze(0), cell_1bh.squeeze(0))
    # The memory of a timestep inside a sequence is only to be had from packed sequences.
    packed = pack_padded_sequence(x_btd, ends_b.cpu(), batch_first=True, enforce_sorted=False)
    order, back = packed.sorted_indices, packed.unsorted_indices
    assert order is not None
    assert back is not None
    start = (state.hidden_bh[order].unsqueeze(0), state.memory_bm[order].unsqueeze(0))
    data, hidden_1bh, cell_1bh = torch.lstm(
        packed.data, packed.batch_sizes, start, flat, True, 1, 0.0, training, False
    )
    y_bth, _ = pad_packed_sequence(
        PackedSequence(data, packed.batch_sizes, order, back),
        batch_first=True,
        total_length=x_btd.shape[1],
    )
    return y_bth, CellState(hidden_1bh.squeeze(0)[back], cell_1bh.squeeze(0)[back])


def _zeros(cell: CellName, weights: CellWeights, x_btd: Tensor) -> CellState:
    hidden_size = weights.input_bias_g.shape[0] // GATES_PER_CELL[cell]
    zeros_bh = x_btd.new_zeros(x_btd.shape[0], hidden_size)
    return CellState(zeros_bh, zeros_bh if cell == "lstm" else None)


def _flat(weights: CellWeights) -> list[Tensor]:
    """In the order of torch's functions."""
    return [weight for weight in weights if weight is not None]


def reversal_index(lengths_b: Tensor, timesteps: int) -> Tensor:
    """[B, T] positions that reverse each row within its length and leave its padding in place."""
    position_t = torch.arange(timesteps, device=lengths_b.device)
    mirrored_bt = lengths_b[:, None] - 1 - position_t
    return torch.where(mirrored_bt >= 0, mirrored_bt, position_t)


def _reverse(x_btd: Tensor, index_bt: Tensor | None) -> Tensor:
    if index_bt is None:
        return x_btd.flip(1)
    return x_btd.gather(1, index_bt[:, :, None].expand(-1, -1, x_btd.shape[2]))
