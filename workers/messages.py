"""What a worker and its trainer say to each other: JSON Lines over two pipes, checked."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from rnn.config import TaskConfig
from rnn.events import AlertKind, Serving
from service.batches.config import BatchConfig


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# Worker to trainer


class KeptCheckpoint(Message):
    step: int
    path: Path
    sha256: str  # of the manifest, as it was saved


class BaseModelFolder(Message):
    """The version that a training starts from, or that predicts."""

    name: str
    version: int
    path: Path
    sha256: str  # of the manifest, as it was recorded


class Train(Message):
    """The one job of a trainer's life, where that is a training."""

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


class Predict(Message):
    """The one job of a trainer's life, where that is a prediction of a whole data set."""

    type: Literal["predict"] = "predict"
    config: BatchConfig
    profile: dict[str, Any]
    dataset_path: Path
    log_path: Path
    checkpoints_dir: Path
    checkpoints: list[KeptCheckpoint]  # the newest first; the first good one is used
    base: BaseModelFolder
    device: Literal["cpu", "cuda"]
    checkpoint_interval_seconds: float
    max_prompt_tokens: int
    max_result_bytes: int


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
    """One step out of many. A value that is not finite is null. `timesteps` were read since the
    report before."""

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
    timesteps: int


class Evaluation(Message):
    type: Literal["evaluation"] = "evaluation"
    at: str
    step: int
    epoch: float
    metrics: dict[str, float | None]
    improved: bool


class TextSample(Message):
    """`rnn.samples.ContinuedText`"""

    kind: Literal["text"] = "text"
    prompt: str
    text: str


class ForecastSample(Message):
    """`rnn.samples.ForecastSeries`: to seven digits; what is missing or not finite is null."""

    kind: Literal["forecast"] = "forecast"
    series: str
    position: int
    history: list[float | None]
    truth: list[float | None]
    mean: list[float | None]
    quantiles: dict[str, list[float | None]]


class LabelSample(Message):
    """`rnn.samples.LabelledText`"""

    kind: Literal["label"] = "label"
    text: str
    label: str
    prediction: str
    score: float | None


class Samples(Message):
    """How the network answers held-out examples at this step."""

    type: Literal["sample"] = "sample"
    at: str
    step: int
    epoch: float
    samples: list[Annotated[TextSample | ForecastSample | LabelSample, Field(discriminator="kind")]]


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


class Divided(Message):
    """Memory ran out, and batches are taken in parts from here on (`rnn.events.BatchDivided`)."""

    type: Literal["divided"] = "divided"
    at: str
    step: int
    parts: int
    rows: int
    reason: str


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
    serving: Serving
    reason: str
    path: Path
    sha256: str


class PredictionStarted(Message):
    """The network is loaded, and the first rows are read."""

    type: Literal["prediction_started"] = "prediction_started"
    at: str
    rows: int  # that an earlier attempt has done
    total_rows: int
    failed_rows: int


class RowsDone(Message):
    """Some rows after others; `failed_rows` of all have an error in place of an answer."""

    type: Literal["rows"] = "rows"
    at: str
    rows: int
    total_rows: int
    failed_rows: int
    rows_per_second: float | None


class PredictionFinished(Message):
    """The result is on disk, one whole file."""

    type: Literal["predicted"] = "predicted"
    rows: int
    failed_rows: int
    path: Path
    sha256: str
    size_bytes: int
    profile: dict[str, Any]  # as that of an uploaded data set


class TrainingStopped(Message):
    type: Literal["stopped"] = "stopped"


class TrainingFailed(Message):
    """Another attempt would end the same way."""

    type: Literal["failed"] = "failed"
    error_type: str
    detail: str


Command = Annotated[Train | Predict | Stop, Field(discriminator="type")]
Report = Annotated[
    Ready
    | Resumed
    | TrainingStarted
    | Measured
    | Evaluation
    | Samples
    | Diagnostics
    | Alarm
    | Divided
    | CheckpointSaved
    | TrainingFinished
    | PredictionStarted
    | RowsDone
    | PredictionFinished
    | TrainingStopped
    | TrainingFailed,
    Field(discriminator="type"),
]
COMMANDS: TypeAdapter[Command] = TypeAdapter(Command)
REPORTS: TypeAdapter[Report] = TypeAdapter(Report)


def to_line(message: Message) -> bytes:
    return message.model_dump_json().encode() + b"\n"
