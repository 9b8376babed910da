"""The native kernels of this project as the benchmarks use them: nothing else here knows their
interface."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from benchmarks.kernels.networks import CPU, Classifier, Forecaster
from benchmarks.kernels.torch_engines import Engine, first_tokens
from rnn.config import ArchitectureConfig, CellName
from rnn.determinism import Randomness
from rnn.generation.network import GenerationNetwork
from rnn.kernels import library
from rnn.kernels.inference import NativeNetwork
from rnn.kernels.library import Precision
from rnn.kernels.training import TrainingPrecision, recurrence
from rnn.layers import RecurrentLayer

# The names that rows carry, and what the kernels call them.
PRECISIONS: dict[str, Precision] = {"f32": "float32", "bf16": "bfloat16", "int8": "int8"}
TRAINING_PRECISIONS: dict[str, TrainingPrecision] = {"f32": "float32", "bf16": "bfloat16"}


def select(level: str) -> None:
    """Chooses the kernels of this process by their instruction set."""
    library.select(cast(library.Choice, level))


def status() -> str:
    """Which kernels answer, for the page's head."""
    found = library.status()
    return f"{found.level} ({found.reason})"


def stepped(
    network: GenerationNetwork, batch: int, precision: Precision, *, steps_per_call: int = 1
) -> Engine:
    """Greedy steps, so many of them in one call of the kernel."""
    native = _generation(network, precision)
    tokens_b = first_tokens(batch, network.embedding.num_embeddings)
    state = network.stack.initial_state(batch)

    def run(steps: int) -> np.ndarray:
        nonlocal tokens_b, state
        for _ in range(0, steps, steps_per_call):
            drawn_sb, _, state = native.greedy(tokens_b, state, min(steps, steps_per_call))
            tokens_b = drawn_sb[-1]
        return tokens_b.numpy()

    return run


def scores(
    network: GenerationNetwork, batch: int, precision: Precision
) -> Callable[[Tensor], Tensor]:
    """Teacher forcing: from tokens [B] to scores [B, V], going on from the state before."""
    native = _generation(network, precision)
    state = network.stack.initial_state(batch)

    def run(tokens_b: Tensor) -> Tensor:
        nonlocal state
        logits_bv, state = native.step(tokens_b, state)
        return logits_bv

    return run


def classifier(model: Classifier, precision: Precision) -> Callable[[Sequence[Tensor]], Tensor]:
    """From token rows to scores [B, 2]."""
    native = NativeNetwork(
        _library(), model.stack, embedding_vd=model.embedding.weight, precision=precision
    )

    def run(rows: Sequence[Tensor]) -> Tensor:
        lengths_b = torch.tensor([len(row) for row in rows])
        y_bth, _ = native.sequences(pad_sequence(list(rows), batch_first=True), lengths_b)
        forwards_bh = y_bth[torch.arange(len(rows)), lengths_b - 1, : model.HIDDEN]
        made: Tensor = model.out(torch.cat([forwards_bh, y_bth[:, 0, model.HIDDEN :]], dim=1))
        return made

    return run


def forecaster(model: Forecaster, precision: Precision) -> Callable[[Tensor], Tensor]:
    """From series [B, T, D] to forecasts [B, horizon]."""
    native = NativeNetwork(_library(), model.stack, precision=precision)

    def run(x_btd: Tensor) -> Tensor:
        _, end = native.sequences(x_btd)
        made: Tensor = model.out(end.hidden_lbh[-1])
        return made

    return run


class TrainedStack(nn.Module):
    """Recurrent layers to train, one after the other, on the kernels at a precision.

    Args:
        sizes: input size (of one direction's inputs) and hidden size of each layer.
    """

    def __init__(
        self,
        cell: CellName,
        sizes: Sequence[tuple[int, int]],
        precision: TrainingPrecision,
        *,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        _library()
        randomness = Randomness(0, CPU)
        self.layers = nn.ModuleList(
            RecurrentLayer(
                ArchitectureConfig(cell=cell, hidden_size=hidden_size),
                input_size,
                randomness,
                bidirectional=bidirectional,
            )
            for input_size, hidden_size in sizes
        )
        self.precision = precision

    def forward(self, x_btd: Tensor, lengths_b: Tensor | None = None) -> tuple[Tensor, None]:
        """Outputs [B, T, H], both directions side by side."""
        for layer in self.layers:
            assert isinstance(layer, RecurrentLayer)
            x_btd = torch.cat(
                [
                    recurrence(
                        layer.cell,
                        layer.weights(backwards=backwards),
                        x_btd,
                        lengths_b=lengths_b,
                        backwards=backwards,
                        precision=self.precision,
                    )[0]
                    for backwards in ((False,) if layer.backwards is None else (False, True))
                ],
                dim=2,
            )
        return x_btd, None


def _library() -> library.Library:
    found = library.load()
    if found is None:
        raise NotImplementedError(library.status().reason)
    return found


def _generation(network: GenerationNetwork, precision: Precision) -> NativeNetwork:
    return NativeNetwork(
        _library(),
        network.stack,
        embedding_vd=network.embedding.weight,
        output=cast(Any, network.head),
        precision=precision,
    )
