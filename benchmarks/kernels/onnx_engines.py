"""ONNX Runtime on these networks: greedy steps with bound memory, and whole sequences."""

from collections.abc import Callable, Sequence

import numpy as np
import onnxruntime
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks.kernels.networks import Classifier, Forecaster
from benchmarks.kernels.onnx_graphs import classifier_graph, forecaster_graph, step_graph
from benchmarks.kernels.torch_engines import Engine, first_tokens
from rnn.generation.network import GenerationNetwork


def stepped(
    network: GenerationNetwork, batch: int, threads: int, *, operator: bool, int8: bool
) -> Engine:
    """Greedy steps; the states go to and fro between two sets of bound arrays."""
    session = step_graph(network, operator=operator).session(threads, int8=int8)
    tokens_b = first_tokens(batch, network.embedding.num_embeddings).numpy().copy()
    next_b = np.zeros(batch, np.int64)
    states = [state_arrays(session, batch) for _ in range(2)]
    bindings = []
    for here, there in ((0, 1), (1, 0)):
        binding = session.io_binding()
        binding.bind_cpu_input("tokens", tokens_b)
        binding.bind_output("next", "cpu", 0, np.int64, [batch], next_b.ctypes.data)
        for name, array in states[here].items():
            binding.bind_cpu_input(name, array)
        for name, array in states[there].items():
            binding.bind_output(
                f"new_{name}", "cpu", 0, np.float32, list(array.shape), array.ctypes.data
            )
        bindings.append(binding)
    turn = 0

    def run(steps: int) -> np.ndarray:
        nonlocal turn
        for _ in range(steps):
            session.run_with_iobinding(bindings[turn])
            tokens_b[:] = next_b
            turn = 1 - turn
        return tokens_b.copy()

    return run


def state_arrays(session: onnxruntime.InferenceSession, batch: int) -> dict[str, np.ndarray]:
    """Zeros for every state that a step graph reads."""
    return {
        value.name: np.zeros([batch if axis == "B" else axis for axis in value.shape], np.float32)
        for value in session.get_inputs()
        if value.name != "tokens"
    }


def classifier(
    model: Classifier, threads: int, *, int8: bool
) -> Callable[[Sequence[Tensor]], Tensor]:
    """From token rows to scores [B, 2] through the LSTM operator with lengths."""
    session = classifier_graph(model).session(threads, int8=int8)

    def run(rows: Sequence[Tensor]) -> Tensor:
        tokens_tb = pad_sequence(list(rows)).numpy()
        lengths_b = np.array([len(row) for row in rows], np.int32)
        scores = session.run(None, {"tokens": tokens_tb, "lengths": lengths_b})
        return torch.from_numpy(scores[0])

    return run


def forecaster(model: Forecaster, threads: int, *, int8: bool) -> Callable[[Tensor], Tensor]:
    """From series [B, T, D] to forecasts [B, horizon]."""
    session = forecaster_graph(model).session(threads, int8=int8)

    def run(x_btd: Tensor) -> Tensor:
        series_tbd = x_btd.transpose(0, 1).contiguous().numpy()
        return torch.from_numpy(session.run(None, {"series": series_tbd})[0])

    return run
