"""What a training tells while it runs, and what it asks of its caller. Needs no torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from rnn.kernels.library import Precision
from rnn.samples import Sample

FinishReason = Literal["max_epochs", "max_steps", "max_minutes", "early_stopping"]
AlertKind = Literal["vanishing", "exploding", "saturated", "diverged"]

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
    """One optimizer update. `total_steps` falls where fewer fit into `max_minutes`. `loss` is the
    batch's, without penalties; `gradient_norm` is the norm before clipping; `timesteps` counts the
    positions that the network read for the batch: each token of a text without pads, and every
    timestep of a forecasting window, also those that are missing or lie before the start of the
    series."""

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
class Sampled:
    """How the weights of the last evaluation answer a few held-out examples, the same ones each
    time."""

    step: int
    epoch: float
    samples: Sequence[Sample]


@dataclass(frozen=True)
class LayerFigures:
    """What a look found in one recurrent layer; of both directions, in the forward one.

    Attributes:
        layer: counted from 1, at the input.
        gradient_norms: of the loss, with respect to the state so many timesteps before the end.
        effective_memory: the longest of these lags whose gradient is still felt; None: of none.
        gate_saturation: by gate, the share of its activations that lie near 0 or 1.
        spectral_radius: of the recurrent matrix of each gate that has one.
        dead_units: share of units that always say the same.
        update_ratio: of the norm of the last update to that of the weights.
    """

    layer: int
    gradient_norms: dict[int, float]
    effective_memory: int | None
    gate_saturation: dict[str, float]
    spectral_radius: dict[str, float]
    dead_units: float
    update_ratio: float


@dataclass(frozen=True)
class Diagnosed:
    """A look into the network. `alerts`: kind and layer of those that hold now."""

    step: int
    layers: list[LayerFigures]
    alerts: list[tuple[AlertKind, int | None]]


@dataclass(frozen=True)
class Alert:
    """Something goes wrong, and what may help. Told once, until it ends: `Diagnosed` does not name
    it any more then. `layer` is counted from 1; None: of the whole network."""

    step: int
    kind: AlertKind
    layer: int | None
    message: str
    remedy: str


@dataclass(frozen=True)
class BatchDivided:
    """Memory ran out in the batch of `step`, for a `reason`, and nothing came of that. It is taken
    again, and every batch from there on: in `parts` one after the other, of at most `rows` rows,
    with the gradient of the whole."""

    step: int
    parts: int
    rows: int
    reason: str


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
class Serving:
    """How a finished network answers.

    Attributes:
        losses: mean held-out loss in each precision that was measured, of what answers requests;
            None: not a finite number.
        positions: how many tokens, texts or timesteps the losses are means of.
        max_loss_increase: the share of the float32 loss that the precision may have lost; None: the
            job fixed it.
    """

    precision: Precision
    losses: dict[Precision, float | None]
    positions: int
    max_loss_increase: float | None


@dataclass(frozen=True)
class Finished:
    """Last event of a completed training. `metrics` belong to the best weights; `save` writes the
    serving model."""

    step: int
    metrics: dict[str, float]
    reason: FinishReason
    save: SaveFolder
    serving: Serving


Event = (
    Started
    | StepDone
    | Evaluated
    | Sampled
    | Diagnosed
    | Alert
    | BatchDivided
    | CheckpointDue
    | Stopped
    | Finished
)
