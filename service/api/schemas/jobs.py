"""Bodies of `/jobs`."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints, field_validator

from rnn.config import ClassificationConfig, Config, ForecastingConfig, GenerationConfig
from rnn.events import AlertKind
from service.api.schemas.base import Id, View
from service.api.schemas.models import BaseModelView, ModelReference
from service.jobs.states import JobState
from service.registry.references import NAME_PATTERN

LabelName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
LabelValue = Annotated[str, StringConstraints(max_length=512)]
DeviceName = Literal["auto", "cpu", "cuda"]
HoldName = Literal["paused", "after"]
MAX_AFTER = 100


class JobFields(Config):
    """What a job says besides its configuration."""

    dataset: Id = Field(description="Id of an uploaded data set.")
    model: str | None = Field(
        None,
        pattern=NAME_PATTERN,
        description="Name to publish the trained network under; null: from the data set's name.",
    )
    base_model: ModelReference | None = Field(
        None,
        description="A version to start from, of the same task, or of text-generation for "
        "text-classification: its weights, and all choices that they depend on.",
    )
    device: DeviceName = Field(
        "auto", description="Where to train; auto: on a GPU if a worker has one."
    )
    priority: int = Field(
        0,
        ge=-1_000_000,
        le=1_000_000,
        description="Higher ones run first; above 0 needs the scope keys:admin.",
    )
    preempts: bool = Field(
        False,
        description="Where no slot is idle, a running job of lower priority is saved and waits.",
    )
    after: list[Id] = Field(
        default_factory=list,
        max_length=MAX_AFTER,
        description="Jobs that have to succeed before this one starts.",
    )
    deadline: AwareDatetime | None = Field(
        None, description="Fails the job where it has not ended by then; its checkpoint is kept."
    )
    metadata: dict[LabelName, LabelValue] = Field(
        default_factory=dict, max_length=16, description="Words of your own, kept with the job."
    )

    @field_validator("after")
    @classmethod
    def _each_once(cls, after: list[UUID]) -> list[UUID]:
        if len(set(after)) < len(after):
            raise ValueError("names a job twice")
        return after


class ForecastingJob(JobFields, ForecastingConfig):
    """A job for `time-series-forecasting`."""


class ClassificationJob(JobFields, ClassificationConfig):
    """A job for `text-classification`."""


class GenerationJob(JobFields, GenerationConfig):
    """A job for `text-generation`."""


JobSubmission = Annotated[
    ForecastingJob | ClassificationJob | GenerationJob, Field(discriminator="task")
]


class Progress(View):
    fraction: float = Field(description="Of the steps at most to be done, 0 to 1.")
    step: int
    total_steps: int | None
    epoch: float


class JobError(View):
    type: str
    detail: str


class AlertView(View):
    """What a training found wrong with itself."""

    at: datetime
    step: int
    kind: AlertKind
    layer: int | None = Field(description="Counted from 1, at the input; null: the whole network.")
    message: str
    remedy: str = Field(description="What may help.")


class JobView(View):
    id: UUID
    task: str
    dataset: UUID
    model: str
    version: int | None = Field(description="Of the model, once the job succeeded.")
    state: JobState
    attempt: int = Field(description="Executions so far; 0 before the first.")
    cancel_requested: bool
    pause_requested: bool
    hold: HoldName | None = Field(
        description="Why a queued job is not started: somebody paused it, or it waits for the jobs "
        "of `after`."
    )
    queue_position: int | None = Field(
        description="1 is next; null unless queued, and while it is held."
    )
    progress: Progress
    eta_seconds: float | None = Field(
        description="To the last possible step at the measured rate; null unless running."
    )
    starts_in_seconds: float | None = Field(
        description="Until a slot is free, as far as the rates of running jobs and the times of "
        "ended ones tell; null unless queued, and where nothing tells."
    )
    metrics: dict[str, Any] = Field(
        description="Of the last evaluation; of the published weights once the job succeeded."
    )
    alerts: list[AlertView] = Field(
        description="Those that hold, or held at the end; each was an event too."
    )
    error: JobError | None
    device: str
    queue: str
    priority: int
    preempts: bool
    after: list[UUID]
    deadline: datetime | None
    metadata: dict[str, str]
    base_model: BaseModelView | None = Field(description="The version that it starts from.")
    config: dict[str, Any] = Field(description="Resolved: nothing is left open.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class EventView(View):
    seq: int
    type: Literal["state", "metrics", "checkpoint", "message", "alert"]
    attempt: int
    created_at: datetime
    data: dict[str, Any]


class EventList(View):
    data: list[EventView]
    has_more: bool


class CheckpointView(View):
    step: int
    attempt: int
    sha256: str = Field(description="Of the manifest, which holds the digest of every file.")


class CheckpointList(View):
    data: list[CheckpointView]


class LogView(View):
    attempt: int
    text: str = Field(description="The end of what the trainer printed.")
    truncated: bool = Field(description="Whether there is more before it.")
