"""Bodies of `/jobs`, but for the one of a new job: that is in `service.jobs.requests`."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from rnn.events import AlertKind
from service.api.schemas.base import StrictBody, View
from service.api.schemas.models import BaseModelView
from service.jobs.kinds import JobKind
from service.jobs.states import JobState
from service.jobs.transitions import EventType
from service.json_values import Timestamp

HoldName = Literal["paused", "after"]


class JobRetry(StrictBody):
    deadline: Timestamp | None = Field(
        None, description="In place of the job's own one, which may have passed; null: none."
    )


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


class WorkView(View):
    """What all kinds of jobs say of themselves."""

    id: UUID
    task: str
    dataset: UUID
    state: JobState
    attempt: int = Field(description="Executions so far; 0 before the first.")
    cancel_requested: bool
    pause_requested: bool
    hold: HoldName | None = Field(
        description="Why a queued job is not started: somebody paused it, or it waits for the jobs "
        "of `after`."
    )
    queue_position: int | None = Field(
        description="1 is next; null unless queued, while it is held, and beyond the first 1,000."
    )
    eta_seconds: float | None = Field(
        description="To the last possible step at the measured rate; null unless running."
    )
    starts_in_seconds: float | None = Field(
        description="Until a slot is free, as far as the rates of running jobs and the times of "
        "ended ones tell; null unless queued, and where nothing tells."
    )
    error: JobError | None
    device: str
    queue: str
    priority: int
    preempts: bool
    after: list[UUID]
    deadline: datetime | None
    metadata: dict[str, str]
    config: dict[str, Any] = Field(description="Resolved: nothing is left open.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobView(WorkView):
    kind: JobKind
    model: str
    version: int | None = Field(description="Of the model, once the job succeeded.")
    progress: Progress
    metrics: dict[str, Any] = Field(
        description="Of the last evaluation; of the published weights once the job succeeded."
    )
    alerts: list[AlertView] = Field(
        description="Those that hold, or held at the end; each was an event too."
    )
    sweep: UUID | None = Field(description="The sweep that it is a trial of.")
    trial: int | None = Field(description="Its number in the sweep, from 0.")
    base_model: BaseModelView | None = Field(
        description="The version that it starts from, or predicts with."
    )


class JobEstimate(View):
    """What a job would be and take; nothing was queued."""

    config: dict[str, Any] = Field(description="Resolved: what would be trained.")
    queue: str
    parameters: int = Field(
        description="Weights of the network; for text-classification at most, as its vocabulary is "
        "only known once the texts are read."
    )
    memory_bytes: int = Field(
        description="Of the weights, their gradients and what the optimizer keeps of each. What a "
        "batch needs comes on top, and is not known."
    )
    steps: int = Field(description="Optimizer steps at most.")
    seconds: float | None = Field(
        description="For all of these steps, in proportion to weights and timesteps, at the rate "
        "of the last jobs of the task in the same queue; null where there were none."
    )


class EventView(View):
    seq: int
    type: EventType
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
