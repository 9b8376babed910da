"""The presets' networks as anybody would write them with torch, timed.

    .venv/bin/python -m benchmarks.training.plain --threads 2 --seconds 30 < asked.json

What is asked holds a job's resolved configuration and the lengths of its texts; the answer, one
line of JSON, holds timesteps a second by precision, and the weights that each timestep multiplies.
Cells that torch does not have are measured as LSTMs of the same width; regularisers beyond dropout
are left out, which is in torch's favour.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnn.config import (
    BYTE_VOCABULARY_SIZE,
    QUANTILE_LEVELS,
    ArchitectureConfig,
    ClassificationConfig,
    ForecastingConfig,
    GenerationConfig,
    TaskConfig,
    TrainingConfig,
)
from rnn.data.splits import bucketed_batches
from rnn.forecasting.windows import WindowShape

LABELS = 2
WARM_UP_STEPS = 3

# A batch's loss, and the timesteps that were read for it.
BatchLoss = tuple[Tensor, int]


class Recurrent(nn.Module):
    """nn.LSTM or nn.GRU of a configuration's shape."""

    def __init__(
        self, config: ArchitectureConfig, input_size: int, *, bidirectional: bool = False
    ) -> None:
        super().__init__()
        kind = nn.GRU if config.cell == "gru" else nn.LSTM
        self.layers = kind(
            input_size,
            config.hidden_size,
            config.num_layers,
            batch_first=True,
            dropout=config.dropout if config.num_layers > 1 else 0.0,
            bidirectional=bidirectional,
        )
        self.output_size = config.hidden_size * (2 if bidirectional else 1)

    def multiplied(self) -> int:
        """Weights that every timestep is multiplied by."""
        return sum(weight.numel() for weight in self.layers.parameters() if weight.ndim == 2)


class Generator(nn.Module):
    """Embedding, recurrence, linear; truncated back-propagation with a carried state."""

    def __init__(self, config: GenerationConfig) -> None:
        super().__init__()
        data, training = config.data, config.training
        vocabulary = BYTE_VOCABULARY_SIZE if data.tokenizer == "byte" else data.vocabulary_size
        size = config.architecture.embedding_size
        self.embedding = nn.Embedding(vocabulary, size)
        self.recurrent = Recurrent(config.architecture, size)
        self.out = nn.Linear(self.recurrent.output_size, vocabulary)
        self.token_bt = torch.randint(0, vocabulary, (training.batch_size, training.bptt_length))
        self.state: Any = None

    def multiplied(self) -> int:
        return self.recurrent.multiplied() + self.out.weight.numel()

    def batches(self) -> Iterator[BatchLoss]:
        while True:
            y_bth, state = self.recurrent.layers(self.embedding(self.token_bt), self.state)
            parts = state if isinstance(state, tuple) else (state,)
            detached = tuple(part.detach() for part in parts)
            self.state = detached if isinstance(state, tuple) else detached[0]
            logits_bv = self.out(y_bth).flatten(0, 1)
            loss = functional.cross_entropy(logits_bv.float(), self.token_bt.flatten())
            yield loss, self.token_bt.numel()


class Classifier(nn.Module):
    """Embedding, recurrence in both directions over packed rows, last, largest and mean output,
    linear; texts of like length together."""

    def __init__(self, config: ClassificationConfig, lengths: list[int], vocabulary: int) -> None:
        super().__init__()
        size = config.architecture.embedding_size
        self.embedding = nn.Embedding(vocabulary, size)
        self.recurrent = Recurrent(
            config.architecture, size, bidirectional=config.architecture.bidirectional
        )
        self.out = nn.Linear(3 * self.recurrent.output_size, LABELS)
        self.lengths = torch.tensor(lengths).clamp(1, config.data.max_tokens)
        self.batch_size = config.training.batch_size
        self.vocabulary = vocabulary

    def multiplied(self) -> int:
        return self.recurrent.multiplied()

    def batches(self) -> Iterator[BatchLoss]:
        epoch = 0
        while True:
            order = bucketed_batches(self.lengths.tolist(), self.batch_size, seed=0, epoch=epoch)
            for batch in order:
                yield self._batch(self.lengths[torch.from_numpy(batch)])
            epoch += 1

    def _batch(self, lengths_b: Tensor) -> BatchLoss:
        longest = int(lengths_b.max())
        token_bt = torch.randint(0, self.vocabulary, (len(lengths_b), longest))
        packed = pack_padded_sequence(
            self.embedding(token_bt), lengths_b, batch_first=True, enforce_sorted=False
        )
        y_bth, _ = pad_packed_sequence(self.recurrent.layers(packed)[0], batch_first=True)
        padding_bt1 = (torch.arange(longest) >= lengths_b[:, None])[:, :, None]
        last_bh = y_bth[torch.arange(len(lengths_b)), lengths_b - 1]
        largest_bh = y_bth.masked_fill(padding_bt1, -torch.inf).amax(dim=1)
        mean_bh = y_bth.masked_fill(padding_bt1, 0).sum(dim=1) / lengths_b[:, None]
        logits_bc = self.out(torch.cat([last_bh, largest_bh, mean_bh], dim=1))
        labels_b = torch.zeros(len(lengths_b), dtype=torch.long)
        return functional.cross_entropy(logits_bc.float(), labels_b), int(lengths_b.sum())


class Forecaster(nn.Module):
    """Recurrence over the context, linear from the last output to all quantiles of the horizon."""

    def __init__(self, config: ForecastingConfig) -> None:
        super().__init__()
        shape = WindowShape.of(config.data)
        self.recurrent = Recurrent(config.architecture, shape.input_features)
        self.out = nn.Linear(self.recurrent.output_size, shape.horizon * len(QUANTILE_LEVELS))
        batch = config.training.batch_size
        self.x_btd = torch.randn(batch, shape.context_length, shape.input_features)
        self.truth_bh = torch.randn(batch, shape.horizon)

    def multiplied(self) -> int:
        return self.recurrent.multiplied()

    def batches(self) -> Iterator[BatchLoss]:
        levels_q = torch.tensor(QUANTILE_LEVELS)
        while True:
            y_bth, _ = self.recurrent.layers(self.x_btd)
            quantiles_bhq = self.out(y_bth[:, -1]).float().unflatten(1, (-1, len(levels_q)))
            error_bhq = self.truth_bh[:, :, None] - quantiles_bhq
            loss = torch.maximum(levels_q * error_bhq, (levels_q - 1) * error_bhq).mean()
            yield loss, self.x_btd.shape[0] * self.x_btd.shape[1]


Network = Generator | Classifier | Forecaster


def network_of(config: TaskConfig, lengths: list[int], vocabulary: int) -> Network:
    match config:
        case GenerationConfig():
            return Generator(config)
        case ClassificationConfig():
            return Classifier(config, lengths, vocabulary)
        case ForecastingConfig():
            return Forecaster(config)


def optimizer_of(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    makers: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adamw": torch.optim.AdamW,
        "adam": torch.optim.Adam,
        "sgd": torch.optim.SGD,
        "rmsprop": torch.optim.RMSprop,
    }
    fused = {"fused": True} if config.optimizer != "rmsprop" else {}
    return makers[config.optimizer](network.parameters(), lr=1e-4, **fused)


def rate(network: Network, training: TrainingConfig, *, autocast: bool, seconds: float) -> float:
    """Timesteps a second: the median over the steps that fit into the time."""
    optimizer = optimizer_of(network, training)
    rates: list[float] = []
    began = time.perf_counter()
    batches = network.batches()
    while len(rates) < WARM_UP_STEPS + 1 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss, timesteps = next(batches)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), training.gradient_clip_norm or torch.inf)
        optimizer.step()
        rates.append(timesteps / (time.perf_counter() - start))
    return statistics.median(rates[WARM_UP_STEPS:])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training.plain", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="of each precision")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    asked = json.load(sys.stdin)
    config: TaskConfig = TypeAdapter(TaskConfig).validate_json(json.dumps(asked["config"]))
    found: dict[str, float] = {}
    for name, autocast in (("float32", False), ("bfloat16 autocast", True)):
        torch.manual_seed(0)
        network = network_of(config, asked["lengths"], asked["vocabulary"])
        found[name] = rate(network, config.training, autocast=autocast, seconds=options.seconds)
    print(json.dumps({"rates": found, "multiplied": network.multiplied()}))


if __name__ == "__main__":
    main()
