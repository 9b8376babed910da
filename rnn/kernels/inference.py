"""A trained stack with its weights packed once: single timesteps, whole ragged sequences.

A row's numbers do not depend on the rows beside it, on the number of threads, nor on whether its
sequence came whole or step by step. Calls run on the CPU without Python's lock, on as many threads
as torch would use in the calling thread or as that chose (`library.use_threads`), and allocate
nothing but what they return.
"""

import weakref
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from rnn.cells import CellWeights
from rnn.errors import InputMismatchError
from rnn.kernels.library import (
    CELL_NUMBERS,
    PRECISION_NUMBERS,
    Library,
    Precision,
    threads_here,
)
from rnn.stack import RecurrentStack
from rnn.state import HiddenState

# As in native/network.cpp, memory.h and product.cpp.
_MOST_TABLE_BYTES = 32 * 2**20
_LARGE_PAGE = 2**21
_GROUPS: dict[Precision, int] = {"float32": 1, "bfloat16": 2, "int8": 4}


class NativeNetwork:
    """A recurrent stack, with the embedding before it and the output layer after it where given.

    The weights are copied: a change of the stack is not seen. One object serves any number of
    threads.

    Args:
        embedding_vd: [V, D]; the inputs are then tokens, and the first layer's product with each is
            looked up (or, where that table would be too large, its vector is read).
        output: the linear layer after the stack, for `step` and `prefill`.
        precision: of the weights and of what they are multiplied with: float32, bfloat16 summed in
            float32, or int8 with one scale for each output's weights and for each row's inputs.
            States, biases and gates are float32 always.

    Attributes:
        memory_bytes: of packed weights, tables and biases, but for what fills up panels.

    Raises:
        ValueError: a stack whose cell or connections are not here (`RecurrentStack.native`).
    """

    exact_in_pieces = True

    def __init__(
        self,
        library: Library,
        stack: RecurrentStack,
        *,
        embedding_vd: Tensor | None = None,
        output: nn.Linear | None = None,
        precision: Precision = "float32",
    ) -> None:
        if not stack.native:
            raise ValueError("the kernels have no such cell or connections")
        layers = stack.recurrent_layers()
        self.precision = precision
        self._library = library
        self._functions = functions = library.functions
        self._is_lstm = layers[0].cell == "lstm"
        self._num_layers = len(layers)
        self._hidden_size = layers[0].forwards.hidden_size
        self._directions = 2 if stack.bidirectional else 1
        self._width = stack.output_size
        changed = stack.residual or isinstance(stack.norms[-1], nn.LayerNorm)
        self._state_is_output = self._directions == 1 and not changed
        self._vocabulary = 0 if embedding_vd is None else len(embedding_vd)
        self._input_size = layers[0].weights().input_weight_gd.shape[1]
        self._outputs = 0 if output is None else output.out_features
        self._net: int = functions.rk_network_new(
            CELL_NUMBERS[layers[0].cell],
            PRECISION_NUMBERS[precision],
            self._num_layers,
            self._directions,
            0 if self._vocabulary else self._input_size,
            self._hidden_size,
            int(stack.residual),
        )
        weakref.finalize(self, functions.rk_network_free, self._net).atexit = False
        self.memory_bytes = 0
        if embedding_vd is not None:
            table = _dense(embedding_vd)
            self.memory_bytes += _held(table.numel())
            functions.rk_network_set_tokens(self._net, *table.shape, table.data_ptr())
        for index, layer in enumerate(layers):
            for direction in range(self._directions):
                self._set_layer(index, direction, layer.weights(backwards=direction == 1))
            norm = stack.norms[index]
            if isinstance(norm, nn.LayerNorm):
                scale, shift = _dense(norm.weight), _dense(norm.bias)
                functions.rk_network_set_norm(
                    self._net, index, scale.data_ptr(), shift.data_ptr(), norm.eps
                )
        if output is not None:
            weight, bias = _dense(output.weight), _dense(output.bias)
            functions.rk_network_set_output(
                self._net, self._outputs, weight.data_ptr(), bias.data_ptr()
            )
            self.memory_bytes += self._packed(weight) + _held(bias.numel())

    def _set_layer(self, index: int, direction: int, weights: CellWeights) -> None:
        dense = [None if weight is None else _dense(weight) for weight in weights]
        self._functions.rk_network_set_layer(
            self._net, index, direction, *(_address(weight) for weight in dense)
        )
        gates = len(weights.input_bias_g)
        table = gates * self._vocabulary if index == 0 else 0
        is_read = 0 < 4 * table <= _MOST_TABLE_BYTES
        self.memory_bytes += _held(table) if is_read else self._packed(weights.input_weight_gd)
        self.memory_bytes += _held(gates)
        if weights.recurrent_weight_gh is not None:
            self.memory_bytes += self._packed(weights.recurrent_weight_gh)

    def _packed(self, weight: Tensor) -> int:
        outputs, inputs = weight.shape
        return _held(outputs * -(-inputs // _GROUPS[self.precision]))

    @property
    def step_bytes(self) -> int:
        """Bytes of weights that a step of one row reads."""
        return cast(int, self._functions.rk_network_step_bytes(self._net))

    def step(self, x: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        """One timestep of every row.

        Args:
            x: tokens [B], or inputs [B, D] where there is no embedding.

        Returns:
            [B, outputs] after the output layer, or [B, H] without one, and the state after it.

        Raises:
            InputMismatchError: a token outside the vocabulary.
        """
        result, end, _ = self._steps(x[None], state, draws=0)
        return result, end

    def greedy(
        self, tokens_b: Tensor, state: HiddenState, steps: int
    ) -> tuple[Tensor, Tensor, HiddenState]:
        """`steps` timesteps in one call, each row going on with its best token.

        Args:
            tokens_b: each row's first.

        Returns:
            The tokens drawn [steps, B], the last scores [B, V], and the state before the last drawn
            token is read.
        """
        result, end, drawn_sb = self._steps(tokens_b[None], state, draws=steps)
        assert drawn_sb is not None
        return drawn_sb, result, end

    def _steps(
        self, x: Tensor, state: HiddenState, *, draws: int
    ) -> tuple[Tensor, HiddenState, Tensor | None]:
        steps, rows = x.shape[0], x.shape[1]
        x = self._inputs(x)
        start, end = self._start(state, rows), self._new_state(rows)
        result = torch.empty(rows, self._outputs or self._width)
        drawn = torch.empty(draws, rows, dtype=torch.int64) if draws else None
        tokens, inputs = (x.data_ptr(), None) if self._vocabulary else (None, x.data_ptr())
        output, logits = (None, result.data_ptr()) if self._outputs else (result.data_ptr(), None)
        self._call(
            self._functions.rk_step,
            rows,
            draws or steps,
            tokens,
            inputs,
            int(draws > 0),
            start.hidden_lbh.data_ptr(),
            _address(start.memory_lbm),
            end.hidden_lbh.data_ptr(),
            _address(end.memory_lbm),
            output,
            logits,
            _address(drawn),
        )
        return result, end, drawn

    def prefill(self, rows: Sequence[Tensor], state: HiddenState) -> tuple[Tensor, HiddenState]:
        """The scores [B, V] after the last of each row's tokens [T], and the state after it: the
        same bits whoever is read beside a row."""
        logits_bv = torch.empty(len(rows), self._outputs)
        lengths_b = torch.tensor([len(tokens) for tokens in rows])
        end = self._read(
            pad_sequence(list(rows), batch_first=True), lengths_b, state, None, logits_bv
        )
        return logits_bv, end

    def sequences(
        self,
        x: Tensor,
        lengths_b: Tensor | None = None,
        state: HiddenState | None = None,
        *,
        state_wanted: bool = True,  # noqa: ARG002  # it costs nothing here
    ) -> tuple[Tensor, HiddenState]:
        """Whole sequences of different lengths.

        Args:
            x: tokens [B, T] or inputs [B, T, D], padded at the end; padding is never read.
            lengths_b: timesteps of each row, at least one; None: all of them.
            state: where the forward direction starts; None: zeros.

        Returns:
            The last layer's outputs [B, T, H], zero on padding, and the forward direction's state
            after each row's own last timestep.

        Raises:
            InputMismatchError: a token outside the vocabulary, or a length that is not there.
        """
        y_bth = torch.zeros(*x.shape[:2], self._width)
        return y_bth, self._read(x, lengths_b, state, y_bth, None)

    def read(self, x: Tensor) -> tuple[Tensor, HiddenState]:
        """Outputs [B, H] at the last timestep of inputs [B, T, D], and the state after it. Where
        the one is in the other, no outputs of the timesteps before are written."""
        if self._state_is_output:
            end = self._read(x, None, None, None, None)
            return end.hidden_lbh[-1], end
        y_bth, end = self.sequences(x)
        return y_bth[:, -1], end

    def _read(
        self,
        x: Tensor,
        lengths_b: Tensor | None,
        state: HiddenState | None,
        y_bth: Tensor | None,
        logits_bv: Tensor | None,
    ) -> HiddenState:
        rows, timesteps = x.shape[:2]
        x = self._inputs(x)
        if lengths_b is None:
            lengths_b = torch.full((rows,), timesteps)
        elif lengths_b.shape != (rows,):
            raise InputMismatchError(f"{len(lengths_b)} lengths for {rows} sequences")
        elif rows and not 1 <= int(lengths_b.min()) <= int(lengths_b.max()) <= timesteps:
            raise InputMismatchError(
                f"lengths must lie between 1 and {timesteps}, not between "
                f"{int(lengths_b.min())} and {int(lengths_b.max())}"
            )
        lengths_b = lengths_b.to(torch.int64).contiguous()
        offsets_b = torch.arange(rows) * timesteps
        start = HiddenState(torch.empty(0)) if state is None else self._start(state, rows)
        end = self._new_state(rows)
        tokens, inputs = (x.data_ptr(), None) if self._vocabulary else (None, x.data_ptr())
        self._call(
            self._functions.rk_sequences,
            rows,
            offsets_b.data_ptr(),
            lengths_b.data_ptr(),
            tokens,
            inputs,
            None if state is None else start.hidden_lbh.data_ptr(),
            None if state is None else _address(start.memory_lbm),
            end.hidden_lbh.data_ptr(),
            _address(end.memory_lbm),
            _address(y_bth),
            _address(logits_bv),
        )
        return end

    def _call(self, function: object, *arguments: object) -> None:
        pool = self._library.pool(threads_here() or torch.get_num_threads())
        try:
            function(self._net, pool, *arguments)  # type: ignore[operator]
        except ValueError as error:
            raise InputMismatchError(
                f"a token is not between 0 and {self._vocabulary - 1}"
                if self._vocabulary
                else "the inputs do not fit the network"
            ) from error

    def _inputs(self, x: Tensor) -> Tensor:
        """The leading two dimensions are free; dense, in the type of the interface."""
        if self._vocabulary:
            return x.to(torch.int64).contiguous()
        if x.shape[2:] != (self._input_size,):
            raise InputMismatchError(
                f"{x.shape[-1]} input features, the network reads {self._input_size}"
            )
        return x.to(torch.float32).contiguous()

    def _start(self, state: HiddenState, rows: int) -> HiddenState:
        """Dense; of another shape it would be read beyond its end."""
        hidden_lbh, memory_lbm = state.hidden_lbh, state.memory_lbm
        shape = (self._num_layers, rows, self._hidden_size)
        cell_shape = None if memory_lbm is None else memory_lbm.shape
        if hidden_lbh.shape != shape or cell_shape != (shape if self._is_lstm else None):
            raise InputMismatchError(
                f"a state of {[*hidden_lbh.shape]} with{'' if memory_lbm is not None else 'out'} "
                f"memory, the network's is {[*shape]} with{'' if self._is_lstm else 'out'} memory"
            )
        return HiddenState(_dense(hidden_lbh), None if memory_lbm is None else _dense(memory_lbm))

    def _new_state(self, rows: int) -> HiddenState:
        shape = (self._num_layers, rows, self._hidden_size)
        return HiddenState(torch.empty(shape), torch.empty(shape) if self._is_lstm else None)


def _held(floats: int) -> int:
    """Bytes that a buffer of so many floats takes: large ones are whole pages."""
    pages = -(-4 * floats // _LARGE_PAGE)
    return pages * _LARGE_PAGE if 4 * floats >= _LARGE_PAGE else 4 * floats


def _dense(tensor: Tensor) -> Tensor:
    """In the layout of the interface; itself where it has that, for a step is short."""
    if tensor.is_cpu and tensor.dtype == torch.float32 and tensor.is_contiguous():
        return tensor
    return tensor.detach().to("cpu", torch.float32).contiguous()


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
