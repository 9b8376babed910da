"""One recurrent layer over whole sequences, in one direction or both."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from rnn.cells import CELLS, CellState, CellWeights, gate_activations, gate_sums
from rnn.config import GATES_PER_CELL, ArchitectureConfig, CellName
from rnn.determinism import Randomness
from rnn.kernels import training
from rnn.kernels.training import TrainingPrecision
from rnn.plain import (
    DirectionParameters,
    cell_weights,
    direction_parameters,
    initialise,
    reversal_index,
    reverse,
    run_direction,
)
from rnn.recurrences.indrnn import IndRNN
from rnn.recurrences.layer_norm_lstm import LayerNormLSTM
from rnn.recurrences.lstm import LSTM
from rnn.recurrences.mlstm import MLSTM
from rnn.recurrences.noise import NO_NOISE, Noise, dropout_mask, zoneout_masks, zoneout_mean
from rnn.recurrences.recurrence import Recurrence
from rnn.recurrences.rglru import RGLRU
from rnn.recurrences.slstm import SLSTM

# An LSTM only with options that its kernels do not have.
RECURRENCES: dict[CellName, Callable[[ArchitectureConfig, int], Recurrence]] = {
    "lstm": LSTM,
    "layer_norm_lstm": LayerNormLSTM,
    "indrnn": IndRNN,
    "slstm": SLSTM,
    "mlstm": MLSTM,
    "rglru": RGLRU,
}

# From inputs [B, T, D], a state and where each row ends to outputs [B, T, H] and the last state.
Run = Callable[[Tensor, CellState, Tensor | None, Noise], tuple[Tensor, CellState]]


class RecurrentLayer(nn.Module):
    """A layer of one cell kind, reading forwards or in both directions.

    Attributes:
        cell: its kind.
        output_size: H, or 2H in both directions.
        memory_size: M, what a direction keeps besides its hidden state; 0: nothing.
        native: whether the equations are those of `rnn.cells` alone, so that kernels and steppers
            that know these may compute it from `weights()`.
    """

    def __init__(
        self,
        config: ArchitectureConfig,
        input_size: int,
        randomness: Randomness,
        *,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        self.cell: CellName = config.cell
        self.output_size = config.hidden_size * (2 if bidirectional else 1)
        self.weight_dropout = config.weight_dropout
        self.recurrent_dropout = config.recurrent_dropout
        self.zoneout = config.zoneout
        self.generator = randomness.dropout
        self.forwards = _direction(config, input_size, randomness)
        self.backwards = _direction(config, input_size, randomness) if bidirectional else None
        if isinstance(self.forwards, Recurrence):
            self.native, self.memory_size = False, self.forwards.memory_size
        else:
            self.native = config.zoneout == 0
            self.memory_size = config.hidden_size if config.cell == "lstm" else 0

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
        y_bth, end = self._run(self.forwards, x_btd, state, lengths_b, state_wanted=state_wanted)
        if self.backwards is None:
            return y_bth, end
        backwards_bth, _ = self._run(
            self.backwards, x_btd, None, lengths_b, backwards=True, state_wanted=state_wanted
        )
        return torch.cat([y_bth, backwards_bth], dim=2), end

    def initial_state(self, batch: int) -> CellState:
        """One direction's state before anything was read: zeros."""
        weight = next(self.parameters())
        return CellState(
            weight.new_zeros(batch, self.forwards.hidden_size),
            weight.new_zeros(batch, self.memory_size) if self.memory_size else None,
        )

    def step(self, x_bd: Tensor, state: CellState) -> CellState:
        """The forward direction's state after one more timestep of inputs [B, D], without any
        randomness: what an evaluated sequence would have."""
        if isinstance(self.forwards, Recurrence):
            after = self.forwards.step(x_bd, state)
        else:
            after = CELLS[self.cell](x_bd, state, self.weights())
        return zoneout_mean(1, after, self.zoneout).mix(0, state, after) if self.zoneout else after

    def gates(self, x_btd: Tensor, hidden_before_bth: Tensor) -> dict[str, Tensor]:
        """Activations [B, T, ..] of the forward direction's gates between 0 and 1 by their names,
        for each timestep's inputs and the hidden state before it."""
        if isinstance(self.forwards, Recurrence):
            return self.forwards.gates(x_btd, hidden_before_bth)
        return gate_activations(self.cell, gate_sums(self.weights(), x_btd, hidden_before_bth))

    def weights(self, *, backwards: bool = False) -> CellWeights:
        """The parameters of one direction of a cell of `rnn.cells`, for the reference cell or
        another fast path."""
        parameters = self.backwards if backwards else self.forwards
        assert parameters is not None
        assert not isinstance(parameters, Recurrence)
        return cell_weights(parameters)

    def _run(
        self,
        parameters: DirectionParameters | Recurrence,
        x_btd: Tensor,
        state: CellState | None,
        lengths_b: Tensor | None,
        *,
        backwards: bool = False,
        state_wanted: bool,
    ) -> tuple[Tensor, CellState]:
        """One direction. Here and nowhere else is chosen what computes it.

        Backwards, each row is reversed within its own length, so that padding comes after the row's
        values in both directions and never reaches them; that keeps the dense kernels, which packed
        sequences would lose.
        """
        if state is None:
            state = self.initial_state(len(x_btd))
        noise = self._noise(x_btd, state)
        run: Run
        if isinstance(parameters, Recurrence):
            run = self._with_dropped_weights(parameters)
        else:
            weights = self._dropped(cell_weights(parameters))
            precision: TrainingPrecision = (
                "bfloat16" if torch.is_autocast_enabled(x_btd.device.type) else "float32"
            )
            if noise.zoneout is None and training.available(x_btd, precision):
                return training.recurrence(
                    self.cell,
                    weights,
                    x_btd,
                    state,
                    lengths_b,
                    backwards=backwards,
                    hidden_mask_bh=noise.hidden_mask_bh,
                    precision=precision,
                )
            run = partial(run_direction, self.cell, weights)
        ends_b = lengths_b if state_wanted else None
        if not backwards:
            return run(x_btd, state, ends_b, noise)
        index_bt = None if lengths_b is None else reversal_index(lengths_b, x_btd.shape[1])
        reversed_bth, state = run(reverse(x_btd, index_bt), state, ends_b, noise)
        return reverse(reversed_bth, index_bt), state

    def _noise(self, x_btd: Tensor, state: CellState) -> Noise:
        """Drawn once for a pass of one direction."""
        hidden_bh, timesteps = state.hidden_bh, x_btd.shape[1]
        if not self.training:
            if not self.zoneout:
                return NO_NOISE
            return Noise(zoneout=zoneout_mean(timesteps, state, self.zoneout))
        return Noise(
            dropout_mask(hidden_bh, self.recurrent_dropout, self.generator)
            if self.recurrent_dropout
            else None,
            zoneout_masks(timesteps, state, self.zoneout, self.generator) if self.zoneout else None,
        )

    def _dropped(self, weights: CellWeights) -> CellWeights:
        weight_gh = weights.recurrent_weight_gh
        if weight_gh is None or not self.training or not self.weight_dropout:
            return weights
        mask_gh = dropout_mask(weight_gh, self.weight_dropout, self.generator)
        return weights._replace(recurrent_weight_gh=weight_gh * mask_gh)

    def _with_dropped_weights(self, recurrence: Recurrence) -> Run:
        """The recurrence with one mask on each recurrent matrix (Merity et al. 2018)."""
        if not self.training or not self.weight_dropout:
            return recurrence
        dropped = {}
        for name in recurrence.recurrent_matrices:
            weight = recurrence.get_parameter(name)
            dropped[name] = weight * dropout_mask(weight, self.weight_dropout, self.generator)
        return lambda *inputs: torch.func.functional_call(recurrence, dropped, inputs)


def _direction(
    config: ArchitectureConfig, input_size: int, randomness: Randomness
) -> DirectionParameters | Recurrence:
    """The parameters of one direction, as a training starts from them."""
    if config.cell in GATES_PER_CELL and not (config.peephole or config.mogrifier_rounds):
        parameters = direction_parameters(config.cell, input_size, config.hidden_size)
        initialise(parameters, config, randomness.weights)
        return parameters
    recurrence = RECURRENCES[config.cell](config, input_size)
    recurrence.initialise(config, randomness.weights)
    return recurrence
