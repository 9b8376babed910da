"""One direction of a recurrent layer in pure torch: works everywhere, for every cell."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnn.cells import UPDATES, CellState, CellWeights, GateSums, positive, recurrent_sums
from rnn.config import GATES_PER_CELL, MINIMAL_CELLS, ArchitectureConfig, CellName
from rnn.recurrences.initialisation import chrono_logits, init_gates, init_lstm_bias
from rnn.recurrences.noise import NO_NOISE, Noise
from rnn.recurrences.recurrence import advance_linearly, last_states, walk
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
        case _:
            raise ValueError(f"{cell} is not among these cells")


@torch.no_grad()
def initialise(
    parameters: DirectionParameters, config: ArchitectureConfig, generator: torch.Generator
) -> None:
    """Draws the weights that a training starts from. Biases are 0 but an LSTM's forget bias. The
    minimal cells begin half open, unless told otherwise: longer memories learned more slowly on
    texts, sentences and series alike."""
    weights, cell = cell_weights(parameters), config.cell
    input_weight_gd, recurrent_weight_gh, input_bias_g, recurrent_bias_g = weights
    gates = GATES_PER_CELL[cell]
    init_gates(input_weight_gd, recurrent_weight_gh, gates, config, generator)
    nn.init.zeros_(input_bias_g)
    if recurrent_bias_g is not None:
        nn.init.zeros_(recurrent_bias_g)
    if cell == "lstm":
        init_lstm_bias(input_bias_g, config, generator)
    elif config.chrono_length is not None:
        keep_h = chrono_logits(parameters.hidden_size, config.chrono_length, generator)
        biases = input_bias_g.chunk(gates)
        match cell:
            case "gru":
                biases[1].copy_(keep_h)
            case "mingru":
                biases[0].copy_(-keep_h)
            case "minlstm":
                biases[0].copy_(keep_h)
                biases[1].copy_(-keep_h)


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
    state: CellState,
    lengths_b: Tensor | None = None,
    noise: Noise = NO_NOISE,
) -> tuple[Tensor, CellState]:
    """Outputs [B, T, H] at every timestep, and the state after each row's last one.

    Args:
        x_btd: [B, T, D], rows padded at the end.
        lengths_b: timesteps of each row, at least one; all T if None. Outputs on padding are
            meaningless.
        noise: with any, the timesteps are walked one by one.
    """
    if any(part is not None for part in noise):
        return _walk(cell, weights, x_btd, state, lengths_b, noise)
    if cell not in MINIMAL_CELLS and torch.is_autocast_enabled(x_btd.device.type):
        # Torch would round sums and states too; in float32, cuDNN still multiplies in TF32.
        with torch.autocast(x_btd.device.type, enabled=False):
            return run_direction(cell, weights, x_btd.float(), state, lengths_b)
    match cell:
        case "lstm":
            return _lstm(weights, x_btd, state, lengths_b)
        case "mingru" | "minlstm":
            y_bth = linear_scan(*minimal_parts(cell, _input_sums(weights, x_btd)), state.hidden_bh)
        case "gru" | "rnn_tanh" | "rnn_relu":
            start_1bh, flat = state.hidden_bh.unsqueeze(0), _flat(weights)
            y_bth, _ = _TORCH_CELLS[cell](
                x_btd, start_1bh, flat, True, 1, 0.0, torch.is_grad_enabled(), False, True
            )
        case _:
            raise ValueError(f"{cell} is not among these cells")
    return y_bth, CellState(last_states(y_bth, lengths_b))


def _walk(
    cell: CellName,
    weights: CellWeights,
    x_btd: Tensor,
    state: CellState,
    lengths_b: Tensor | None,
    noise: Noise,
) -> tuple[Tensor, CellState]:
    input_btg = _input_sums(weights, x_btd)
    if cell in MINIMAL_CELLS:
        parts = minimal_parts(cell, input_btg)
        return walk(advance_linearly, torch.cat(parts, dim=-1), state, lengths_b, noise)

    def advance(input_bg: Tensor, state: CellState) -> CellState:
        recurrent_bg = recurrent_sums(weights, state.hidden_bh, noise.hidden_mask_bh)
        return UPDATES[cell](GateSums(input_bg, recurrent_bg), state)

    # The mask is for the gates alone: a GRU also carries its hidden state on.
    unmasked = noise._replace(hidden_mask_bh=None)
    with torch.autocast(x_btd.device.type, enabled=False):
        return walk(advance, input_btg, state, lengths_b, unmasked)


def _input_sums(weights: CellWeights, x_btd: Tensor) -> Tensor:
    """[B, T, G*H], where autocast rounds the products alone."""
    input_btg = functional.linear(x_btd, weights.input_weight_gd, weights.input_bias_g)
    return input_btg.to(weights.input_bias_g.dtype)


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


def _flat(weights: CellWeights) -> list[Tensor]:
    """In the order of torch's functions."""
    return [weight for weight in weights if weight is not None]


def reversal_index(lengths_b: Tensor, timesteps: int) -> Tensor:
    """[B, T] positions that reverse each row within its length and leave its padding in place."""
    position_t = torch.arange(timesteps, device=lengths_b.device)
    mirrored_bt = lengths_b[:, None] - 1 - position_t
    return torch.where(mirrored_bt >= 0, mirrored_bt, position_t)


def reverse(x_btd: Tensor, index_bt: Tensor | None) -> Tensor:
    """Rows turned by such positions; by None, whole."""
    if index_bt is None:
        return x_btd.flip(1)
    return x_btd.gather(1, index_bt[:, :, None].expand(-1, -1, x_btd.shape[2]))
