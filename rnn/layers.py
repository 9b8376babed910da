"""One recurrent layer over whole sequences, in one direction or both."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from rnn.cells import CellState, CellWeights
from rnn.config import GATES_PER_CELL, CellName
from rnn.determinism import Randomness
from rnn.kernels import training
from rnn.kernels.training import TrainingPrecision
from rnn.plain import DirectionParameters, cell_weights, direction_parameters, run_direction


class RecurrentLayer(nn.Module):
    """A layer of one cell kind, reading forwards or in both directions."""

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
        self.forwards = direction_parameters(cell, input_size, hidden_size)
        self.backwards = (
            direction_parameters(cell, input_size, hidden_size) if bidirectional else None
        )
        for parameters in (self.forwards, self.backwards):
            if parameters is not None:
                _initialise(parameters, cell, randomness)

    def forward(
        self,
        x_btd: Tensor,
        state: CellState | None = None,
        lengths_b: Tensor | None = None,
        *,
        state_wanted: bool = True,
    ) -> tuple[Tensor, CellState]:
        """Outputs at every timestep, and the forward direction's state after each row's last one.

        Args:
            x_btd: [B, T, D], rows padded at the end.
            state: start of the forward direction; zeros if None.
            lengths_b: timesteps of each row, at least one; needed for a ragged batch. Outputs on
                padding are meaningless.
            state_wanted: False: the returned state of padded rows is meaningless, which saves time.
        """
        run = self._how(x_btd, state_wanted)
        y_bth, state = run(self.cell, self.weights(), x_btd, state, lengths_b)
        if self.backwards is None:
            return y_bth, state
        weights = self.weights(backwards=True)
        backwards_bth, _ = run(self.cell, weights, x_btd, None, lengths_b, backwards=True)
        return torch.cat([y_bth, backwards_bth], dim=2), state

    def _how(self, x_btd: Tensor, state_wanted: bool) -> Callable[..., tuple[Tensor, CellState]]:
        """What computes one direction: here and nowhere else is that chosen."""
        autocast = torch.is_autocast_enabled(x_btd.device.type)
        precision: TrainingPrecision = "bfloat16" if autocast else "float32"
        if training.available(x_btd, precision):
            return partial(training.recurrence, precision=precision)
        return partial(run_direction, state_wanted=state_wanted)

    def weights(self, *, backwards: bool = False) -> CellWeights:
        """The parameters of one direction, for the reference cell or another fast path."""
        parameters = self.backwards if backwards else self.forwards
        assert parameters is not None
        return cell_weights(parameters)


@torch.no_grad()
def _initialise(parameters: DirectionParameters, cell: CellName, randomness: Randomness) -> None:
    """Orthogonal recurrence, Xavier input weights gate by gate, biases 0 but an LSTM's forget bias,
    which is 1. The minimal cells begin half open: longer memories learned more slowly on texts,
    sentences and series alike."""
    weights, hidden_size = cell_weights(parameters), parameters.hidden_size
    for gate in range(GATES_PER_CELL[cell]):
        rows = slice(gate * hidden_size, (gate + 1) * hidden_size)
        nn.init.xavier_uniform_(weights.input_weight_gd[rows], generator=randomness.weights)
        if weights.recurrent_weight_gh is not None:
            nn.init.orthogonal_(weights.recurrent_weight_gh[rows], generator=randomness.weights)
    nn.init.zeros_(weights.input_bias_g)
    if weights.recurrent_bias_g is not None:
        nn.init.zeros_(weights.recurrent_bias_g)
    if cell == "lstm":
        weights.input_bias_g[hidden_size : 2 * hidden_size] = 1
