"""What a worker and its trainer say to each other: JSON Lines over two pipes, checked."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from rnn.config import TaskConfig
from rnn.events import AlertKind


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# Worker to trainer


class KeptCheckpoint(Message):
    step: int
    path: Path
    sha256: str  # of the manifest, as it was saved


class BaseModelFolder(Message):
    """The version that a training starts from."""

    name: str
    version: int
    path: Path
    sha256: str  # of the manifest, as it was recorded


class Train(Message):
    """The one job of a trainer's life."""

    type: Literal["train"] = "train"
    config: TaskConfig
    profile: dict[str, Any]
    dataset_path: Path
    log_path: Path
    checkpoints_dir: Path
    model_dir: Path
    checkpoints: list[KeptCheckpoint]  # the newest first; the first good one is used
    base: BaseModelFolder | None = None
    device: Literal["cpu", "cuda"]
    checkpoint_interval_seconds: float


class Stop(Message):
    """End between two steps; `save`: with a checkpoint."""

    type: Literal["stop"] = "stop"
    save: bool


# Trainer to worker; `at` is the trainer's clock, ISO 8601


class Ready(Message):
    """Everything slow is imported: a job's first step is near."""

    type: Literal["ready"] = "ready"


class Rejected(Message):
    step: int
    reason: str


class Resumed(Message):
    """Which of the offered checkpoints is used (its index), and why others were not."""

    type: Literal["resumed"] = "resumed"
    used: int | None
    rejected: list[Rejected]


class TrainingStarted(Message):
    type: Literal["started"] = "started"
    at: str
    parameters: int
    total_steps: int
    first_step: int


class Measured(Message):
    """One step out of many. A value that is not finite is null."""

    type: Literal["step"] = "step"
    at: str
    step: int
    total_steps: int
    epoch: float
    loss: float | None
    learning_rate: float | None
    gradient_norm: float | None
    steps_per_second: float | None
    timesteps_per_second: float | None


class Evaluation(Message):
    type: Literal["evaluation"] = "evaluation"
    at: str
    step: int
    epoch: float
    metrics: dict[str, float | None]
    improved: bool


class LayerDiagnostics(Message):
    """Of one recurrent layer (`rnn.events.LayerFigures`)."""

    layer: int
    gradient_norms: dict[int, float | None]
    effective_memory: int | None
    gate_saturation: dict[str, float | None]
    spectral_radius: dict[str, float | None]
    dead_units: float | None
    update_ratio: float | None


class Diagnostics(Message):
    """A look into the network. `alerts`: kind and layer of those that hold now."""

    type: Literal["diagnostics"] = "diagnostics"
    at: str
    step: int
    layers: list[LayerDiagnostics]
    alerts: list[tuple[AlertKind, int | None]]


class Alarm(Message):
    """An alert that was not told before, or that had ended (`rnn.events.Alert`)."""

    type: Literal["alert"] = "alert"
    at: str
    step: int
    kind: AlertKind
    layer: int | None
    message: str
    remedy: str


class CheckpointSaved(Message):
    """Written, fsynced and renamed before this is said."""

    type: Literal["checkpoint"] = "checkpoint"
    step: int
    path: Path
    sha256: str


class TrainingFinished(Message):
    """The serving model is on disk."""

    type: Literal["finished"] = "finished"
    step: int
    metrics: dict[str, float | None]
    reason: str
    path: Path
    sha256: str


class TrainingStopped(Message):
    type: Literal["stopped"] = "stopped"


class TrainingFailed(Message):
    """Another attempt would end the same way."""

    type: Literal["failed"] = "failed"
    error_type: str
    detail: str


Command = Annotated[Train | Stop, Field(discriminator="type")]
Report = Annotated[
    Ready
    | Resumed
    | TrainingStarted
    | Measured
    | Evaluation
    | Diagnostics
    | Alarm
    | CheckpointSaved
    | TrainingFinished
    | TrainingStopped
    | TrainingFailed,
    Field(discriminator="type"),
]
COMMANDS: TypeAdapter[Command] = TypeAdapter(Command)
REPORTS: TypeAdapter[Report] = TypeAdapter(Report)


def to_line(message: Message) -> bytes:
    return message.model_dump_json().encode() + b"\n"
