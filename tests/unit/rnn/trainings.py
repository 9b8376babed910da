"""Whole trainings of tiny networks, for the tests of the loop."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnn.checkpoint import read
from rnn.config import ClassificationConfig, ForecastingConfig, GenerationConfig, TaskConfig
from rnn.data.examples import Examples
from rnn.events import Event, Finished, StepDone
from rnn.train import train


@dataclass
class Scripted:
    """A caller whose clock advances one second a question, and who stops after given steps."""

    checkpoint_at: set[int] = field(default_factory=set)
    stop_at: int | None = None
    seconds: float = 0.0
    step: int = 0

    def elapsed_seconds(self) -> float:
        self.seconds += 1
        return self.seconds

    def should_checkpoint(self) -> bool:
        return self.step in self.checkpoint_at

    def should_stop(self) -> bool:
        return self.step == self.stop_at


class Still(Scripted):
    """Its clock stands still: what is done beside the training costs nothing."""

    def elapsed_seconds(self) -> float:
        return 0.0


def events(
    config: TaskConfig,
    examples: Examples,
    control: Scripted | None = None,
    resume: Path | None = None,
) -> Iterator[Event]:
    control = control or Scripted()
    for event in train(config, examples, device="cpu", control=control, resume=resume):
        if isinstance(event, StepDone):
            control.step = event.step
        yield event


def finished(config: TaskConfig, examples: Examples, **options: Any) -> Finished:
    *_, last = events(config, examples, **options)
    assert isinstance(last, Finished)
    return last


def weights_hash(event: Finished, folder: Path) -> str:
    event.save(folder)
    tensors = read(folder, "model").tensors
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].numpy().tobytes())
    return digest.hexdigest()


def forecasting(**training: Any) -> ForecastingConfig:
    return ForecastingConfig.model_validate(
        {
            "task": "time-series-forecasting",
            "architecture": {"hidden_size": 8, "dropout": 0.2},
            "training": {
                "max_epochs": 3,
                "batch_size": 16,
                "learning_rate": 0.01,
                "windows_per_epoch": 64,
                "evaluations_per_epoch": 2,
                **training,
            },
            "data": {"horizon": 4, "context_length": 16, "season_length": 8},
        }
    )


def classification(**training: Any) -> ClassificationConfig:
    return ClassificationConfig.model_validate(
        {
            "task": "text-classification",
            "architecture": {
                "hidden_size": 8,
                "embedding_size": 8,
                "dropout": 0.2,
                "input_dropout": 0.1,
                "output_dropout": 0.1,
            },
            "training": {"max_epochs": 4, "batch_size": 8, "learning_rate": 0.02, **training},
            "data": {"validation_fraction": 0.2, "min_frequency": 1},
        }
    )


def generation(**training: Any) -> GenerationConfig:
    return GenerationConfig.model_validate(
        {
            "task": "text-generation",
            "architecture": {"hidden_size": 12, "embedding_size": 6, "dropout": 0.2},
            "training": {
                "max_epochs": 4,
                "batch_size": 4,
                "bptt_length": 30,
                "learning_rate": 0.02,
                "evaluations_per_epoch": 3,
                **training,
            },
        }
    )
