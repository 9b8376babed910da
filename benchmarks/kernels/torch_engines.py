"""Torch's ways to take a generation network one token on, each as a function that runs steps.

An engine is called with a number of steps, goes on from the state that its last call left, always
takes the best token, and returns the last tokens [B].
"""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch._inductor import config as inductor
from torch.nn import functional

from benchmarks.kernels.networks import TorchGeneration
from rnn.generation.network import GenerationNetwork
from rnn.stepper import Stepper

Engine = Callable[[int], np.ndarray]


def first_tokens(batch: int, vocabulary: int) -> Tensor:
    """[B] a token for each stream to begin with."""
    return torch.arange(1, batch + 1) % vocabulary


def stepped_lstm(model: nn.Module, batch: int, vocabulary: int, *, onednn: bool) -> Engine:
    """What most people serve: `nn.LSTM` over sequences of one."""
    tokens_b: Tensor = first_tokens(batch, vocabulary)
    state = None

    def run(steps: int) -> np.ndarray:
        nonlocal tokens_b, state
        with torch.inference_mode(), torch.backends.mkldnn.flags(enabled=onednn):
            for _ in range(steps):
                logits_b1v, state = model(tokens_b[:, None], state)
                tokens_b = logits_b1v[:, 0].argmax(dim=1)
        return tokens_b.numpy()

    return run


def stepper(network: GenerationNetwork, batch: int) -> Engine:
    """Gates by hand in torch: `rnn.stepper`, the product's fallback."""
    steps_by_hand = Stepper(
        network.stack, embedding_vd=network.embedding.weight, output=network.head
    )
    tokens_b = first_tokens(batch, network.embedding.num_embeddings)
    state = network.stack.initial_state(batch)

    def run(steps: int) -> np.ndarray:
        nonlocal tokens_b, state
        with torch.inference_mode():
            for _ in range(steps):
                logits_bv, state = steps_by_hand.step(tokens_b, state)
                tokens_b = logits_bv.argmax(dim=1)
        return tokens_b.numpy()

    return run


def dynamic_int8(model: TorchGeneration, batch: int, vocabulary: int) -> Engine:
    """Torch's dynamic quantisation of `nn.LSTM` and `nn.Linear`."""
    return stepped_lstm(quantised(model), batch, vocabulary, onednn=True)


def quantised(model: nn.Module) -> nn.Module:
    """The model with int8 weights and activations scaled call by call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: nn.Module = torch.ao.quantization.quantize_dynamic(
            model, {nn.LSTM, nn.Linear}, dtype=torch.qint8
        )
    return made


class FoldedStep(nn.Module):
    """One step as a graph for torch.compile: the embedding folded into the first layer, input and
    recurrent weights of the others side by side."""

    def __init__(self, network: GenerationNetwork, dtype: torch.dtype) -> None:
        super().__init__()
        layers = [layer.weights().detach() for layer in network.stack.recurrent_layers()]
        table_vg = biases = None
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for index, weights in enumerate(layers):
            assert weights.recurrent_weight_gh is not None
            assert weights.recurrent_bias_g is not None
            biases = weights.input_bias_g + weights.recurrent_bias_g
            joined = weights.recurrent_weight_gh
            if index == 0:
                table_vg = network.embedding.weight.detach() @ weights.input_weight_gd.T + biases
            else:
                joined = torch.cat([weights.input_weight_gd, joined], dim=1)
            self.weights.append(nn.Parameter(joined.to(dtype)))
            self.biases.append(nn.Parameter(biases.to(dtype)))
        assert table_vg is not None
        self.table_vg = nn.Parameter(table_vg.to(dtype))
        self.weights.append(nn.Parameter(network.head.weight.detach().to(dtype)))
        self.biases.append(nn.Parameter(network.head.bias.detach().to(dtype)))

    def product(self, index: int, x: Tensor, *, bias: bool) -> Tensor:
        return functional.linear(x, self.weights[index], self.biases[index] if bias else None)

    def forward(
        self, tokens_b: Tensor, hidden: list[Tensor], cell: list[Tensor]
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """The best tokens [B] and the states [B, H] of each layer."""
        new_hidden, new_cell = [], []
        x = self.table_vg[tokens_b]
        for index, (hidden_bh, cell_bh) in enumerate(zip(hidden, cell, strict=True)):
            if index == 0:
                gates_bg = x + self.product(0, hidden_bh, bias=False)
            else:
                gates_bg = self.product(index, torch.cat([x, hidden_bh], dim=1), bias=True)
            in_part, forget_part, cell_part, out_part = gates_bg.chunk(4, dim=1)
            cell_bh = torch.sigmoid(forget_part) * cell_bh
            cell_bh = cell_bh + torch.sigmoid(in_part) * torch.tanh(cell_part)
            x = torch.sigmoid(out_part) * torch.tanh(cell_bh)
            new_hidden.append(x)
            new_cell.append(cell_bh)
        logits_bv = self.product(len(hidden), x, bias=True)
        return logits_bv.argmax(dim=1), new_hidden, new_cell


class PrepackedStep(FoldedStep):
    """The same with weights in oneDNN's own layout, chosen for the batch."""

    def __init__(self, network: GenerationNetwork, dtype: torch.dtype, batch: int) -> None:
        super().__init__(network, dtype)
        self.packed = [
            torch.ops.mkldnn._reorder_linear_weight(weight.detach(), batch)
            for weight in self.weights
        ]

    def product(self, index: int, x: Tensor, *, bias: bool) -> Tensor:
        bias_g = self.biases[index] if bias else None
        made: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self.packed[index], bias_g, "none", [], ""
        )
        return made


def prepacked(network: GenerationNetwork, batch: int, dtype: torch.dtype) -> Engine:
    return _folded_engine(PrepackedStep(network, dtype, batch), network, batch, dtype)


def compiled(network: GenerationNetwork, batch: int, dtype: torch.dtype) -> Engine:
    """torch.compile with weights frozen in, C++ wrapper and tuned products: slow to build."""
    step = torch.compile(FoldedStep(network, dtype).eval(), dynamic=False)
    # As options of torch.compile they would come too late: unless freezing is known when the step
    # is traced, parameters become inputs of the graph.
    with inductor.patch(freezing=True, cpp_wrapper=True, max_autotune=True):
        _folded_engine(step, network, batch, dtype)(3)
    return _folded_engine(step, network, batch, dtype)


def _folded_engine(
    step: Callable[..., tuple[Tensor, list[Tensor], list[Tensor]]],
    network: GenerationNetwork,
    batch: int,
    dtype: torch.dtype,
) -> Engine:
    layers = network.stack.recurrent_layers()
    hidden = [torch.zeros(batch, layer.output_size, dtype=dtype) for layer in layers]
    cell = [torch.zeros_like(state) for state in hidden]
    tokens_b = first_tokens(batch, network.embedding.num_embeddings)

    def run(steps: int) -> np.ndarray:
        nonlocal tokens_b, hidden, cell
        with torch.inference_mode():
            for _ in range(steps):
                tokens_b, hidden, cell = step(tokens_b, hidden, cell)
        return tokens_b.numpy()

    return run
