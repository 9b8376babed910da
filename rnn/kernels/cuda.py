"""A trained stack on a GPU: CUDA graphs for single timesteps, cuDNN for whole sequences.

Everything but the graphs and Triton runs on a CPU too, which is how it is tested where there is no
GPU.
"""

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnn.errors import InputMismatchError
from rnn.kernels.cuda_steps import MOST_ROWS, Product, Steps, each, rows_of
from rnn.kernels.library import Precision, precision_on_gpu
from rnn.stack import RecurrentStack
from rnn.state import HiddenState

_SEGMENT = 1024  # timesteps; bounds the memory of a long prompt's outputs

_choosing_products = threading.Lock()


class CudaNetwork:
    """A recurrent stack, with the embedding before it and the output layer after it where given.

    Takes the calls of `rnn.kernels.inference.NativeNetwork` and answers on the stack's device. The
    weights are copied: a change of the stack is not seen. One object serves any number of threads,
    on any streams, one timestep after the other.

    Rows are computed apart, yet a row's last digits may depend on how many are beside it: cuBLAS
    and cuDNN sum in another order for another number of rows. Steps are padded to powers of two, so
    that there are few such numbers.

    Args:
        embedding_vd: [V, D]; the inputs are then tokens. They are best given on the CPU: whether
            they lie within the vocabulary has to be known before the GPU reads them.
        output: the linear layer after the stack, for `step` and `prefill`.
        precision: float32; or bfloat16, in which weights are rounded to it, steps round what they
            multiply with them too, and cuDNN rounds that to the 10 bits of TF32. Sums, states,
            biases and gates are float32 always. int8 is computed as bfloat16.

    Raises:
        ValueError: a stack whose cell or connections are not here (`RecurrentStack.native`).
    """

    exact_in_pieces = False

    def __init__(
        self,
        stack: RecurrentStack,
        *,
        embedding_vd: Tensor | None = None,
        output: nn.Linear | None = None,
        precision: Precision = "float32",
    ) -> None:
        if not stack.native:
            raise ValueError("the kernels have no such cell or connections")
        self.precision = precision_on_gpu(precision)
        self._rounded = rounded = self.precision != "float32"
        self._device = next(stack.parameters()).device
        self._stack = _frozen(stack, rounded)
        self._input_size = stack.recurrent_layers()[0].weights().input_weight_gd.shape[1]
        self._embedding_vd = None
        if embedding_vd is not None:
            table_vd = embedding_vd.detach().clone()
            self._embedding_vd = table_vd.bfloat16().float() if rounded else table_vd
        self._output = None
        if output is not None:
            weight, bias = output.weight.detach().clone(), output.bias.detach().clone()
            self._output = Product(weight, bias, rounded=rounded)
        self._making_steps = threading.Lock()
        self._steps: Steps | None = None

    def step(self, x: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        """One timestep of every row.

        Args:
            x: tokens [B], or inputs [B, D] where there is no embedding.

        Returns:
            [B, outputs] after the output layer, or [B, H] without one, and the state after it.

        Raises:
            InputMismatchError: a token outside the vocabulary.
        """
        result, end, _ = self._run_steps(x, state, draws=0)
        return result, end

    def greedy(
        self, tokens_b: Tensor, state: HiddenState, steps: int
    ) -> tuple[Tensor, Tensor, HiddenState]:
        """`steps` timesteps without leaving the device, each row going on with its best token.

        Args:
            tokens_b: each row's first.
            steps: at least one.

        Returns:
            The tokens drawn [steps, B], the last scores [B, V], and the state before the last drawn
            token is read.
        """
        result, end, drawn_sb = self._run_steps(tokens_b, state, draws=steps)
        return drawn_sb, result, end

    @torch.inference_mode()
    def _run_steps(
        self, x: Tensor, state: HiddenState, *, draws: int
    ) -> tuple[Tensor, HiddenState, Tensor]:
        self._check(x)
        assert state.batch_size == len(x), "a state for each row"
        with self._making_steps:
            if self._steps is None:
                self._steps = Steps(
                    self._stack, self._embedding_vd, self._output, rounded=self._rounded
                )
        pieces = []
        for start in range(0, max(1, len(x)), MOST_ROWS):
            rows = slice(start, start + MOST_ROWS)
            pieces.append(self._steps.run(x[rows], rows_of(state, rows), draws))
        if len(pieces) == 1:
            return pieces[0]
        results, ends, drawn = zip(*pieces, strict=True)
        return torch.cat(results), HiddenState.cat(ends), torch.cat(drawn, dim=1)

    @torch.inference_mode()
    def prefill(self, rows: Sequence[Tensor], state: HiddenState) -> tuple[Tensor, HiddenState]:
        """The scores [B, V] after the last of each row's tokens [T], and the state after it."""
        answers = [self._prompt(tokens, state.row(row)) for row, tokens in enumerate(rows)]
        logits_bv = torch.cat([logits_bv for logits_bv, _ in answers])
        return logits_bv, HiddenState.cat([end for _, end in answers])

    def _prompt(self, tokens: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        assert self._output is not None
        for start in range(0, len(tokens), _SEGMENT):
            y_bth, state = self.sequences(tokens[None, start : start + _SEGMENT], state=state)
        return self._output(y_bth[:, -1]), state

    @torch.inference_mode()
    def sequences(
        self,
        x: Tensor,
        lengths_b: Tensor | None = None,
        state: HiddenState | None = None,
        *,
        state_wanted: bool = True,
    ) -> tuple[Tensor, HiddenState]:
        """Whole sequences of different lengths.

        Args:
            x: tokens [B, T] or inputs [B, T, D], padded at the end; padding reaches no result.
            lengths_b: timesteps of each row, at least one; None: all of them. Best given on the
                CPU, for they are looked at.
            state: where a forward stack starts; None: zeros.

        Returns:
            The last layer's outputs [B, T, H], zero on padding, and the forward direction's state
            after each row's own last timestep.

        Raises:
            InputMismatchError: a token outside the vocabulary, or a length that is not there.
        """
        self._check(x)
        rows, timesteps = x.shape[:2]
        if rows == 0:
            y_bth = torch.zeros(0, timesteps, self._stack.output_size, device=self._device)
            return y_bth, self._stack.initial_state(0)
        if lengths_b is not None:
            shortest, longest = int(lengths_b.min()), int(lengths_b.max())
            if not 1 <= shortest <= longest <= timesteps:
                raise InputMismatchError(
                    f"lengths must lie between 1 and {timesteps}, not between "
                    f"{shortest} and {longest}"
                )
            lengths_b = None if shortest == timesteps else lengths_b.to(self._device)
        x = x.to(self._device)
        if self._embedding_vd is not None:
            x = functional.embedding(x, self._embedding_vd)
        if state is not None:
            state = each(state, lambda part_lbh: part_lbh.to(self._device).contiguous())
        with _cudnn_factors("tf32" if self._rounded else "ieee"):
            y_bth, end = self._stack(x.float(), state, lengths_b, state_wanted=state_wanted)
        if lengths_b is not None:
            padding_bt = torch.arange(timesteps, device=self._device) >= lengths_b[:, None]
            y_bth = y_bth.masked_fill(padding_bt[:, :, None], 0)
        return y_bth, end

    def read(self, x: Tensor) -> tuple[Tensor, HiddenState]:
        """Outputs [B, H] at the last timestep of inputs [B, T, D], and the state after it."""
        y_bth, end = self.sequences(x)
        return y_bth[:, -1], end

    def _check(self, x: Tensor) -> None:
        """A token outside the table would end the process's work on the GPU, for good."""
        if self._embedding_vd is None:
            if x.shape[-1] != self._input_size:
                raise InputMismatchError(
                    f"{x.shape[-1]} input features, the network reads {self._input_size}"
                )
        elif x.numel():
            last = len(self._embedding_vd) - 1
            lowest, highest = x.aminmax()
            if not 0 <= int(lowest) <= int(highest) <= last:
                raise InputMismatchError(f"a token is not between 0 and {last}")


@torch.no_grad()
def _frozen(stack: RecurrentStack, rounded: bool) -> RecurrentStack:
    """A copy that nobody trains; dropout's generator, which it does not use, is shared, and outputs
    of a training are left out."""
    generator = stack.dropout.generator
    shared = {id(generator): generator, id(stack.outputs): None}
    frozen = copy.deepcopy(stack, shared).eval().requires_grad_(False)
    for parameter in frozen.parameters():
        if rounded and parameter.ndim == 2:
            parameter.copy_(parameter.bfloat16())
    for part in frozen.modules():
        if isinstance(part, nn.RNNBase):
            part.flatten_parameters()  # copied one by one, they lie apart
    return frozen


@contextmanager
def _cudnn_factors(precision: str) -> Iterator[None]:
    """How cuDNN's recurrences multiply in float32: "ieee", or "tf32", for which rounded weights are
    exact. That is a setting of the process, given back afterwards."""
    settings: Any = torch.backends.cudnn.rnn
    with _choosing_products:
        before = settings.fp32_precision
        settings.fp32_precision = precision
        try:
            yield
        finally:
            settings.fp32_precision = before
