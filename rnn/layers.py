"""One recurrent layer over whole sequences, through torch's fused implementations."""

import torch
from torch import Tensor, nn

from rnn.cells import CellState, CellWeights
from rnn.config import GATES_PER_CELL, CellName
from rnn.determinism import Randomness


class RecurrentLayer(nn.Module):
    """A layer of one cell kind, reading forwards or in both directions.

    The backward direction reads each row reversed within its own length, so that padding comes
    after the row's values in both directions and never reaches them; that keeps the dense kernels,
    which packed sequences would lose.
    """

    def __init__(
        self,
        cell: CellName,
        input_size: int,
        hidden_size: int,
        randomness: Randomness,
        *,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        self.cell: CellName = cell
        self.output_size = hidden_size * (2 if bidirectional else 1)
        self.forwards = _fused(cell, input_size, hidden_size)
        self.backwards = _fused(cell, input_size, hidden_size) if bidirectional else None
        for rnn in (self.forwards, self.backwards):
            if rnn is not None:
                _initialise(rnn, cell, randomness)

    def forward(
        self, x_btd: Tensor, state: CellState | None = None, lengths_b: Tensor | None = None
    ) -> tuple[Tensor, CellState]:
        """Outputs at every timestep, and the forward direction's state after the last one.

        Args:
            x_btd: [B, T, D], rows padded at the end.
            state: start of the forward direction; zeros if None.
            lengths_b: timesteps of each row; needed for a bidirectional ragged batch. Outputs on
                padding are meaningless, and so is the returned state of a padded row.
        """
        y_bth, state = self._run(self.forwards, x_btd, state)
        if self.backwards is None:
            return y_bth, state
        if lengths_b is None:
            reversed_bth, _ = self._run(self.backwards, x_btd.flip(1), None)
            return torch.cat([y_bth, reversed_bth.flip(1)], dim=2), state
        index_bt = reversal_index(lengths_b, x_btd.shape[1])
        reversed_bth, _ = self._run(self.backwards, _reorder(x_btd, index_bt), None)
        return torch.cat([y_bth, _reorder(reversed_bth, index_bt)], dim=2), state

    def _run(
        self, rnn: nn.RNNBase, x_btd: Tensor, state: CellState | None
    ) -> tuple[Tensor, CellState]:
        start: object = None
        if state is not None:
            hidden = state.hidden_bh.unsqueeze(0)
            start = hidden if state.cell_bh is None else (hidden, state.cell_bh.unsqueeze(0))
        y_bth, end = rnn(x_btd, start)
        if self.cell == "lstm":
            return y_bth, CellState(end[0].squeeze(0), end[1].squeeze(0))
        return y_bth, CellState(end.squeeze(0))

    def weights(self, *, backwards: bool = False) -> CellWeights:
        """The parameters of one direction, for the reference cell or another fast path."""
        rnn = self.backwards if backwards else self.forwards
        assert rnn is not None
        return _cell_weights(rnn)


def reversal_index(lengths_b: Tensor, timesteps: int) -> Tensor:
    """[B, T] positions that reverse each row within its length and leave its padding in place."""
    position_t = torch.arange(timesteps, device=lengths_b.device)
    mirrored_bt = lengths_b[:, None] - 1 - position_t
    return torch.where(mirrored_bt >= 0, mirrored_bt, position_t)


def _reorder(x_btd: Tensor, index_bt: Tensor) -> Tensor:
    return x_btd.gather(1, index_bt[:, :, None].expand(-1, -1, x_btd.shape[2]))


def _fused(cell: CellName, input_size: int, hidden_size: int) -> nn.RNNBase:
    match cell:
        case "lstm":
            return nn.LSTM(input_size, hidden_size, batch_first=True)
        case "gru":
            return nn.GRU(input_size, hidden_size, batch_first=True)
        case "rnn_tanh":
            return nn.RNN(input_size, hidden_size, nonlinearity="tanh", batch_first=True)
        case "rnn_relu":
            return nn.RNN(input_size, hidden_size, nonlinearity="relu", batch_first=True)


def _cell_weights(rnn: nn.RNNBase) -> CellWeights:
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return CellWeights(*(rnn.get_parameter(name) for name in names))


@torch.no_grad()
def _initialise(rnn: nn.RNNBase, cell: CellName, randomness: Randomness) -> None:
    """Orthogonal recurrence, Xavier input weights gate by gate, LSTM forget bias 1."""
    weights, hidden_size = _cell_weights(rnn), rnn.hidden_size
    for gate in range(GATES_PER_CELL[cell]):
        rows = slice(gate * hidden_size, (gate + 1) * hidden_size)
        nn.init.xavier_uniform_(weights.input_weight_gd[rows], generator=randomness.weights)
        nn.init.orthogonal_(weights.recurrent_weight_gh[rows], generator=randomness.weights)
    nn.init.zeros_(weights.input_bias_g)
    nn.init.zeros_(weights.recurrent_bias_g)
    if cell == "lstm":
        weights.input_bias_g[hidden_size : 2 * hidden_size] = 1
