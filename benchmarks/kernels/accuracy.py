"""What a precision costs a trained network: distance from the equations, and bits per byte.

Random weights mislead here: a network is trained first, on the sources of Python's own library.
"""

import copy
import math
import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.kernels import ours
from benchmarks.kernels.measure import Row, say
from benchmarks.kernels.networks import SHAPES, TorchGeneration, generation_network
from benchmarks.kernels.onnx_engines import state_arrays
from benchmarks.kernels.onnx_graphs import step_graph
from benchmarks.kernels.torch_engines import quantised
from rnn.cells import CELLS, CellState, CellWeights
from rnn.generation.network import GenerationNetwork

TRAIN_STEPS, QUICK_TRAIN_STEPS = 400, 60  # about two minutes, and 20 seconds
BATCH, TIMESTEPS = 32, 128
JUDGED_ROWS, JUDGED_STEPS = 16, 500

# From tokens [B] to scores [B, V], going on from the state before.
Scores = Callable[[Tensor], Tensor]


def accuracy(threads: int, *, quick: bool, compile_too: bool) -> list[Row]:
    """Errors of every engine on held-out text, against the reference cell in float64."""
    del compile_too
    train_bytes, held_out = _text()
    network = _trained(train_bytes, QUICK_TRAIN_STEPS if quick else TRAIN_STEPS)
    steps = 100 if quick else JUDGED_STEPS
    text_bt = held_out[: JUDGED_ROWS * (steps + 1)].reshape(JUDGED_ROWS, steps + 1)
    expected = _scored(_reference(network, JUDGED_ROWS), text_bt)
    model = TorchGeneration(network).eval()
    makers: dict[str, Callable[[int], Scores]] = {
        "reference cell, float64": lambda batch: _reference(network, batch),
        "nn.LSTM f32": lambda batch: _torch(model, batch),
        "nn.LSTM bf16": lambda batch: _torch(copy.deepcopy(model).to(torch.bfloat16), batch),
        "torch dynamic int8": lambda batch: _torch(quantised(model), batch),
        "ONNX Runtime f32, LSTM operator": lambda batch: _onnx(
            network, batch, threads, operator=True, int8=False
        ),
        "ONNX Runtime int8, LSTM operator": lambda batch: _onnx(
            network, batch, threads, operator=True, int8=True
        ),
        "ONNX Runtime int8, LSTM products": lambda batch: _onnx(
            network, batch, threads, operator=False, int8=True
        ),
    }
    for name, precision in ours.PRECISIONS.items():
        makers[f"ours {name}"] = lambda batch, precision=precision: ours.scores(
            network, batch, precision
        )
    rows = []
    for name, make in makers.items():
        say(f"accuracy: {name}")
        try:
            rows += _judged(name, make, text_bt, expected)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:120]
            rows.append(Row("accuracy", "bits per byte", name, "bits", None, note=reason))
    return rows


def _judged(
    name: str, make: Callable[[int], Scores], text_bt: Tensor, expected_btv: Tensor
) -> list[Row]:
    found_btv = _scored(make(len(text_bt)), text_bt).double()
    alone_btv = _scored(make(1), text_bt[:1]).double()
    logprobs = torch.log_softmax(found_btv, dim=2)
    reference = torch.log_softmax(expected_btv, dim=2)
    targets = text_bt[:, 1:].long()
    bits = functional.nll_loss(logprobs.flatten(0, 1), targets.flatten()).item() / math.log(2)
    divergence = (reference.exp() * (reference - logprobs)).sum(dim=2).mean().item() / math.log(2)
    difference = (found_btv - expected_btv).abs().max() / expected_btv.abs().max()
    figures = {
        "bits per byte": ("bits", bits),
        "KL to the reference": ("bits", max(divergence, 0.0)),
        "largest relative error of scores": ("", difference.item()),
        "a row alone against among 16": ("", (alone_btv[0] - found_btv[0]).abs().max().item()),
    }
    return [
        Row("accuracy", work, name, unit or "1", figure) for work, (unit, figure) in figures.items()
    ]


def _scored(scores: Scores, text_bt: Tensor) -> Tensor:
    """[B, T, V] scores of every token but the first, each fed the true one before it."""
    with torch.inference_mode():
        return torch.stack([scores(tokens_b).clone() for tokens_b in text_bt[:, :-1].T], dim=1)


def _text() -> tuple[Tensor, Tensor]:
    """Bytes to train on and bytes to judge by."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    text = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    everything = torch.from_numpy(np.frombuffer(text, np.uint8).astype(np.int64))
    held_out = JUDGED_ROWS * (JUDGED_STEPS + 1)
    return everything[:-held_out], everything[-held_out:]


def _trained(text: Tensor, updates: int) -> GenerationNetwork:
    """The small shape after so many updates of nn.LSTM in bfloat16, learning rate falling."""
    say(f"accuracy: training for {updates} updates")
    network = generation_network(SHAPES["S"])
    with torch.no_grad():
        network.head.weight.div_(4)
    model = TorchGeneration(network).train()
    rate = 3e-3
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=True)
    length = len(text) // BATCH
    rows_bt = text[: BATCH * length].reshape(BATCH, length)
    state, place, loss = None, 0, torch.zeros(())
    for update in range(updates):
        if place + TIMESTEPS >= length:
            place, state = 0, None
        segment = rows_bt[:, place : place + TIMESTEPS + 1]
        place += TIMESTEPS
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - update / updates) + 1e-4
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            logits_btv, state = model(segment[:, :-1], state)
        state = (state[0].detach().float(), state[1].detach().float())
        loss = functional.cross_entropy(logits_btv.float().flatten(0, 1), segment[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    say(f"accuracy: {loss.item() / math.log(2):.3f} bits per byte in the last update")
    _copy_back(model, network)
    return network.eval()


@torch.no_grad()
def _copy_back(model: TorchGeneration, network: GenerationNetwork) -> None:
    """The trained recurrence into the network; embedding and output layer are shared already."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    for index, layer in enumerate(network.stack.recurrent_layers()):
        for name, weight in zip(names, layer.weights(), strict=True):
            assert weight is not None
            weight.copy_(model.lstm.get_parameter(f"{name}_l{index}"))


def _reference(network: GenerationNetwork, batch: int) -> Scores:
    """The equations of `rnn.cells` in float64."""
    embedding_vd = network.embedding.weight.detach().double()
    layers = [
        CellWeights(*(weight.double() for weight in layer.weights().detach() if weight is not None))
        for layer in network.stack.recurrent_layers()
    ]
    zeros_bh = torch.zeros(batch, SHAPES["S"].hidden_size, dtype=torch.float64)
    states = [CellState(zeros_bh, zeros_bh) for _ in layers]
    weight_vh = network.head.weight.detach().double()
    bias_v = network.head.bias.detach().double()

    def scores(tokens_b: Tensor) -> Tensor:
        x_bd = embedding_vd[tokens_b]
        for index, weights in enumerate(layers):
            states[index] = CELLS["lstm"](x_bd, states[index], weights)
            x_bd = states[index].hidden_bh
        logits_bv: Tensor = x_bd @ weight_vh.T + bias_v
        return logits_bv

    return scores


def _torch(model: nn.Module, batch: int) -> Scores:
    del batch  # the state takes its size from the tokens
    state = None

    def scores(tokens_b: Tensor) -> Tensor:
        nonlocal state
        logits_b1v, state = model(tokens_b[:, None], state)
        return logits_b1v[:, 0]

    return scores


def _onnx(
    network: GenerationNetwork, batch: int, threads: int, *, operator: bool, int8: bool
) -> Scores:
    session = step_graph(network, operator=operator, logits=True).session(threads, int8=int8)
    states = state_arrays(session, batch)
    names = [value.name for value in session.get_outputs()]

    def scores(tokens_b: Tensor) -> Tensor:
        made = dict(
            zip(names, session.run(None, {"tokens": tokens_b.numpy(), **states}), strict=True)
        )
        states.update({name: made[f"new_{name}"] for name in states})
        return torch.from_numpy(made["logits"])

    return scores
