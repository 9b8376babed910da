"""What computes a trained stack: the native kernels, CUDA graphs on a GPU, or torch alone.

All three take the same calls and give the same answers, to the precision asked for.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnn.kernels import library
from rnn.kernels.inference import NativeNetwork
from rnn.kernels.library import Precision
from rnn.stack import RecurrentStack
from rnn.state import HiddenState
from rnn.stepper import Stepper

_SEGMENT = 1024  # bounds the memory of a long prompt's outputs


def joined(answers: list[tuple[Tensor, HiddenState]]) -> tuple[Tensor, HiddenState]:
    """Answers of one row or more each, as those of one batch."""
    return torch.cat([y for y, _ in answers]), HiddenState.cat([end for _, end in answers])


class Runner(Protocol):
    """A stack with the embedding before it and the output layer after it, where it has them.

    Inputs may lie on the CPU; states and answers lie where the stack does.
    """

    exact_in_pieces: bool  # a sequence has the same digits however it is cut into calls

    @property
    def precision(self) -> Precision:
        """What it computes in, which may be finer than what was asked for."""
        ...

    def step(self, x: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        """One timestep of every row, tokens [B] or inputs [B, D]: scores [B, V], or outputs [B, H]
        where there is no output layer, and the state after it."""
        ...

    def prefill(self, rows: Sequence[Tensor], state: HiddenState) -> tuple[Tensor, HiddenState]:
        """Scores [B, V] after the last of each row's own tokens [T], at least one, and the state
        after it. Where there is an output layer alone."""
        ...

    def sequences(
        self,
        x: Tensor,
        lengths_b: Tensor | None = None,
        state: HiddenState | None = None,
        *,
        state_wanted: bool = True,
    ) -> tuple[Tensor, HiddenState]:
        """Outputs [B, T, H] of tokens [B, T] or inputs [B, T, D], padded at the end, and the
        forward state after each row's own last timestep. Outputs on padding are meaningless, and so
        is the state of padded rows where it is not wanted."""
        ...

    def read(self, x: Tensor) -> tuple[Tensor, HiddenState]:
        """Outputs [B, H] at the last timestep of inputs [B, T, D], and the state after it."""
        ...


class TorchRunner:
    """Torch alone: works for every stack, on every device."""

    exact_in_pieces = False
    precision: Precision = "float32"

    def __init__(
        self, stack: RecurrentStack, *, embedding_vd: Tensor | None, output: nn.Linear | None
    ) -> None:
        assert not stack.training, "it would drop units"
        self._stack = stack
        self._embedding_vd = embedding_vd
        self._output = output
        self._device = next(stack.parameters()).device

    @cached_property
    def _stepper(self) -> Stepper:
        """Made when it is needed: it holds the first layer's product with every token."""
        return Stepper(self._stack, embedding_vd=self._embedding_vd, output=self._output)

    def step(self, x: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        return self._stepper.step(x.to(self._device), state)

    def prefill(self, rows: Sequence[Tensor], state: HiddenState) -> tuple[Tensor, HiddenState]:
        return joined([self._read(tokens, state.row(i)) for i, tokens in enumerate(rows)])

    def _read(self, tokens: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        read = tokens[:-1]
        for start in range(0, len(read), _SEGMENT):
            _, state = self.sequences(read[None, start : start + _SEGMENT], state=state)
        return self.step(tokens[-1:], state)

    def sequences(
        self,
        x: Tensor,
        lengths_b: Tensor | None = None,
        state: HiddenState | None = None,
        *,
        state_wanted: bool = True,
    ) -> tuple[Tensor, HiddenState]:
        x = x.to(self._device)
        if lengths_b is not None:
            lengths_b = lengths_b.to(self._device)
        if self._embedding_vd is not None:
            x = functional.embedding(x, self._embedding_vd)
        y_bth, end = self._stack(x, state, lengths_b, state_wanted=state_wanted)
        return y_bth, end

    def read(self, x: Tensor) -> tuple[Tensor, HiddenState]:
        y_bth, end = self.sequences(x)
        return y_bth[:, -1], end


class RowsAlone(TorchRunner):
    """Torch, one row after the other: no digit depends on the rows beside it or on padding, which
    in torch's own batches it does. Full batches pay for it (`docs/decisions/0012-exact-rows.md`).

    Args:
        rows: of a step, so many that follow each other are one's own and stay together.
    """

    def __init__(
        self,
        stack: RecurrentStack,
        *,
        embedding_vd: Tensor | None,
        output: nn.Linear | None,
        rows: int = 1,
    ) -> None:
        super().__init__(stack, embedding_vd=embedding_vd, output=output)
        self._rows = rows

    def step(self, x: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        answers = [
            super(RowsAlone, self).step(x[rows], state.select(rows))
            for rows in torch.split(torch.arange(len(x)), self._rows)
        ]
        return joined(answers)

    def sequences(
        self,
        x: Tensor,
        lengths_b: Tensor | None = None,
        state: HiddenState | None = None,
        *,
        state_wanted: bool = True,
    ) -> tuple[Tensor, HiddenState]:
        rows, timesteps = x.shape[:2]
        lengths = [timesteps] * rows if lengths_b is None else lengths_b.tolist()
        answers = [
            super(RowsAlone, self).sequences(
                x[row : row + 1, :length].clone(),
                state=None if state is None else state.row(row),
                state_wanted=state_wanted,
            )
            for row, length in enumerate(lengths)
        ]
        padded = [(functional.pad(y, (0, 0, 0, timesteps - y.shape[1])), end) for y, end in answers]
        return joined(padded)


def make_runner(
    stack: RecurrentStack,
    *,
    embedding_vd: Tensor | None = None,
    output: nn.Linear | None = None,
    precision: Precision = "float32",
    rows: int = 1,
) -> Runner:
    """The fastest that runs where the stack lies and computes its cell and connections. Its weights
    may be copied: a later change of the stack is not seen.

    Args:
        stack: in evaluation mode.
        precision: of the native kernels, where they have instructions for it
            (`rnn.kernels.library.precision_here`), and on a GPU; torch on a CPU takes float32.
        rows: of a step, so many that follow each other never come apart.
    """
    parameter = next(stack.parameters())
    if stack.native and parameter.dtype == torch.float32:
        if parameter.device.type == "cuda":
            from rnn.kernels.cuda import CudaNetwork  # a server without a GPU starts without it

            return CudaNetwork(stack, embedding_vd=embedding_vd, output=output, precision=precision)
        kernels = library.load()
        if parameter.device.type == "cpu" and kernels is not None:
            return NativeNetwork(
                kernels,
                stack,
                embedding_vd=embedding_vd,
                output=output,
                precision=library.precision_here(precision),
            )
    if parameter.device.type == "cpu":
        return RowsAlone(stack, embedding_vd=embedding_vd, output=output, rows=rows)
    return TorchRunner(stack, embedding_vd=embedding_vd, output=output)
