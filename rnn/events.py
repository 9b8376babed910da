"""What a training tells while it runs, and what it asks of its caller. Needs no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

FinishReason = Literal["max_epochs", "max_steps", "max_minutes", "early_stopping"]

# Writes a folder atomically: a temporary sibling, files and manifest fsynced, renamed, parent
# fsynced. It may be called until the generator of `rnn.train.train` is resumed.
SaveFolder = Callable[[Path], None]


class Control(Protocol):
    """The caller's side of a training; every question is asked between two optimizer steps."""

    def elapsed_seconds(self) -> float:
        """Seconds since this attempt began; earlier attempts are added from the checkpoint."""
        ...

    def should_checkpoint(self) -> bool:
        """Whether `CheckpointDue` shall come now. Asked before `should_stop`: a caller that wants
        its work kept before a stop answers yes to both."""
        ...

    def should_stop(self) -> bool:
        """Whether to end here with `Stopped`; nothing is saved by that itself."""
        ...


@dataclass(frozen=True)
class Started:
    """First event. `total_steps` is an upper limit; `first_step` counts the steps done before."""

    parameters: int
    total_steps: int
    first_step: int


@dataclass(frozen=True)
class StepDone:
    """One optimizer update. `loss` is the batch's, without penalties; `gradient_norm` is the norm
    before clipping; `timesteps` counts the positions that the network read for the batch: each
    token of a text without pads, and every timestep of a forecasting window, also those that are
    missing or lie before the start of the series."""

    step: int
    total_steps: int
    epoch: float
    loss: float
    learning_rate: float
    gradient_norm: float
    timesteps: int


@dataclass(frozen=True)
class Evaluated:
    """Held-out metrics; `improved` says that these weights are now the best and will be served."""

    step: int
    epoch: float
    metrics: dict[str, float]
    improved: bool


@dataclass(frozen=True)
class CheckpointDue:
    """`save` writes the whole training state; without a call nothing is written."""

    step: int
    save: SaveFolder


@dataclass(frozen=True)
class Stopped:
    """Last event of a training that `Control.should_stop` ended."""

    step: int


@dataclass(frozen=True)
class Finished:
    """Last event of a completed training. `metrics` belong to the best weights; `save` writes the
    serving model."""

    step: int
    metrics: dict[str, float]
    reason: FinishReason
    save: SaveFolder


Event = Started | StepDone | Evaluated | CheckpointDue | Stopped | Finished
