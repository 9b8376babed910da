"""From coded windows to forecasts in the unit of the series."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnn.config import ForecastingConfig
from rnn.forecasting.coding import CodedWindows
from rnn.forecasting.distributions import DISTRIBUTIONS, Distribution
from rnn.forecasting.heads import DirectHead, RecursiveHead, SegmentHead
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.targets import Units, read_values
from rnn.forecasting.windows import VALUE_FEATURES
from rnn.kernels.library import Precision
from rnn.rows import ALONE, linear_alone, row_by_row
from rnn.runner import Runner, TorchRunner, make_runner
from rnn.stack import RecurrentStack
from rnn.state import HiddenState

FloatArray = NDArray[np.float64]

PATHS = 100
"""Futures that recursive decoding draws for each window."""


@dataclass(frozen=True)
class Forecast:
    """`mean_bh` [B, H] and `quantiles_bhq` [B, H, Q], in the unit of the series."""

    mean_bh: FloatArray
    quantiles_bhq: FloatArray


Marginals: TypeAlias = Callable[[Sequence[float]], Forecast]
"""What is said of each timestep by itself: a forecast by the levels of its quantiles."""


class Decoder:
    """A trained network with what computes its stacks.

    Args:
        fast: computes with the fastest runner there is, from copies of the weights; otherwise with
            torch.
        precision: of the fastest runner, where there are kernels for it.
    """

    def __init__(
        self,
        config: ForecastingConfig,
        network: ForecastingNetwork,
        *,
        fast: bool,
        precision: Precision = "float32",
    ) -> None:
        self.distribution = DISTRIBUTIONS[config.architecture.distribution]
        self.lowest_value = self.distribution.lowest_value
        self._network = network
        self._device = next(network.parameters()).device
        self._reader = _runner(network.stack, precision, fast=fast)
        self.precision = self._reader.precision
        self._paths = 1 if config.architecture.distribution == "point" else PATHS
        self._writer: Runner | None = None
        if isinstance(network.head, RecursiveHead):
            self._writer = _runner(network.head.stack, precision, fast=fast, rows=self._paths)

    def forecast(self, coded: CodedWindows, levels: Sequence[float]) -> Forecast:
        """Of windows coded for any horizon up to the trained one; recursive decoding also goes on
        beyond it."""
        return self.marginals(coded)(levels)

    def marginals(self, coded: CodedWindows) -> Marginals:
        """Likewise, of any levels.

        The paths of a timestep of recursive decoding stand for equal shares of probability, in an
        order of its own (Latin hypercube sampling, McKay et al. 1979): the same for every row, so
        that a forecast does not depend on what is asked beside it.
        """
        head = self._network.head
        if not isinstance(head, RecursiveHead):
            return partial(stated, self.distribution, self._outputs(head, coded), coded)
        shares = [
            np.random.default_rng([timestep]).permutation(self._paths)
            for timestep in range(coded.future_bhd.shape[1])
        ]
        return partial(
            _summarised, *self._drawn(coded, (np.stack(shares)[None] + 0.5) / self._paths)
        )

    @property
    def draws_paths(self) -> bool:
        """Whether `paths` can be asked for; of points there is but one."""
        return self._paths > 1 and self._writer is not None

    def paths(self, coded: CodedWindows, levels_bhp: FloatArray) -> FloatArray:
        """[B, H, P] values of recursive decoding, drawn at the levels [B, H, P], each read before
        the next."""
        return self._drawn(coded, levels_bhp)[1]

    def outputs(self, coded: CodedWindows, truth_bh2: Tensor) -> Tensor:
        """[B, horizon, outputs]: as `ForecastingNetwork.forward`, and with it recursive decoding
        reads the truth."""
        head = self._network.head
        if not isinstance(head, RecursiveHead):
            return self._outputs(head, coded)
        assert self._writer is not None
        inputs_btd, future_bhd = self._tensors(coded)
        _, state = self._read(inputs_btd)
        previous_bh2 = torch.cat([inputs_btd[:, -1:, :VALUE_FEATURES], truth_bh2[:, :-1]], dim=1)
        reads_bhd = torch.cat([previous_bh2, future_bhd], dim=2)
        y_bhh, _ = self._writer.sequences(reads_bhd, state=state, state_wanted=False)
        outputs_bho: Tensor = head.out(y_bhh)
        return outputs_bho

    def initial_state(self) -> HiddenState:
        """The state of the stack that reads the context of one window before it has read any."""
        return self._network.stack.initial_state(1)

    def hidden(self, coded: CodedWindows) -> HiddenState:
        """Its state after the context."""
        return self._read(self._tensors(coded)[0])[1]

    def _read(self, inputs_btd: Tensor) -> tuple[Tensor, HiddenState]:
        """What the stack makes of the end of the context [B, H], and its state there."""
        if self._network.reads_first:
            inputs_btd = row_by_row(self._network.stack_reads, inputs_btd)
        return self._reader.read(inputs_btd)

    def _outputs(self, head: DirectHead | SegmentHead, coded: CodedWindows) -> Tensor:
        inputs_btd, future_bhd = self._tensors(coded)
        last_bh, state = self._read(inputs_btd)
        if isinstance(head, DirectHead):
            return head.forward(last_bh, future_bhd, ALONE)
        states = state.select(torch.arange(len(inputs_btd)).repeat_interleave(head.segments))
        y_nh, _ = self._reader.step(head.tokens(future_bhd, ALONE), states)
        y_bsh = y_nh.reshape(len(inputs_btd), head.segments, -1)
        return head.forward(y_bsh, inputs_btd, ALONE)

    def _tensors(self, coded: CodedWindows) -> tuple[Tensor, Tensor]:
        """Inputs [B, T, D] and future [B, horizon, D]."""
        inputs_btd = torch.from_numpy(coded.inputs_btd).to(self._device)
        return inputs_btd, torch.from_numpy(coded.future_bhd).to(self._device)

    def _drawn(self, coded: CodedWindows, levels_bhp: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Ancestral sampling: each timestep's value is drawn, and read before the next. Means and
        values [B, H, P]; the levels may be [1, H, P], those of every row."""
        head = self._network.head
        assert isinstance(head, RecursiveHead)
        assert self._writer is not None
        batch, paths, units = len(coded.future_bhd), levels_bhp.shape[2], Units.of(coded)
        _, state = self._read(self._tensors(coded)[0])
        states = state.select(torch.arange(batch).repeat_interleave(paths))
        previous_n2 = np.repeat(coded.inputs_btd[:, -1, :VALUE_FEATURES], paths, axis=0)
        means, drawn = [], []
        for timestep in range(levels_bhp.shape[1]):
            future_nd = np.repeat(coded.future_bhd[:, timestep], paths, axis=0)
            reads_nd = torch.from_numpy(np.concatenate([previous_n2, future_nd], axis=1))
            y_nh, states = self._writer.step(reads_nd, states)
            outputs_bpo = linear_alone(head.out, y_nh.reshape(batch, paths, -1))
            outputs_n1o = _numbers(outputs_bpo).reshape(batch * paths, 1, -1)
            here = units.step(timestep, paths)
            level_n1 = np.broadcast_to(levels_bhp[:, timestep], (batch, paths)).reshape(-1, 1)
            values_n1 = self.distribution.quantiles(outputs_n1o, here, level_n1)[:, :, 0]
            previous_n2 = read_values(values_n1, here.scale)[:, 0]
            means.append(self.distribution.mean(outputs_n1o, here).reshape(batch, paths))
            drawn.append(values_n1.reshape(batch, paths))
        return np.stack(means, axis=1), np.stack(drawn, axis=1)


def _summarised(means_bhp: FloatArray, drawn_bhp: FloatArray, levels: Sequence[float]) -> Forecast:
    """What drawn paths say together."""
    quantiles_qbh = np.quantile(drawn_bhp, np.asarray(levels), axis=2)
    return Forecast(means_bhp.mean(axis=2), quantiles_qbh.transpose(1, 2, 0))


def stated(
    distribution: Distribution, outputs_bho: Tensor, coded: CodedWindows, levels: Sequence[float]
) -> Forecast:
    """What a network's numbers say, in the unit of the series."""
    numbers_bho, units = _numbers(outputs_bho), Units.of(coded)
    return Forecast(
        distribution.mean(numbers_bho, units),
        distribution.quantiles(numbers_bho, units, np.asarray(levels, dtype=np.float64)[None, :]),
    )


def _numbers(outputs: Tensor) -> FloatArray:
    return outputs.float().cpu().numpy().astype(np.float64)


def _runner(stack: RecurrentStack, precision: Precision, *, fast: bool, rows: int = 1) -> Runner:
    if fast:
        return make_runner(stack, precision=precision, rows=rows)
    return TorchRunner(stack, embedding_vd=None, output=None)
