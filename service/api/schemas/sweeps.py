"""What `/sweeps` answers; `service.sweeps.requests` has what it is asked with."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from service.api.schemas.base import View
from service.api.schemas.jobs import JobError

SweepState = Literal["running", "succeeded", "failed", "cancelled"]
TrialState = Literal["queued", "running", "succeeded", "failed", "cancelled", "pruned"]


class TrialView(View):
    """One job of a sweep."""

    number: int = Field(description="From 0, which tries the job as it is if that is in the space.")
    job: UUID
    state: TrialState = Field(
        description="Of its job; pruned: cancelled, since its metric was among the worse ones."
    )
    params: dict[str, float | int | str | bool | None] = Field(description="What it tries.")
    value: float | None = Field(
        description="The sweep's metric: of the weights that were kept once it succeeded, else of "
        "the last evaluation."
    )
    duration_seconds: float | None = Field(
        description="From its first start to its end; null before it ended, and if it never began."
    )
    error: JobError | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class SweepView(View):
    id: UUID
    state: SweepState
    task: str
    dataset: UUID
    model: str
    version: int | None = Field(description="Of the model: the best trial, once it is published.")
    job: dict[str, Any] = Field(
        description="As it was given, on the data set and base that its names stood for then."
    )
    space: dict[str, Any]
    metric: str
    direction: Literal["minimize", "maximize"] = Field(description="Of the metric.")
    sampler: str
    pruner: str
    max_trials: int
    parallel: int | None
    max_minutes: int | None
    seed: int
    trials: dict[TrialState, int] = Field(description="How many are in each state.")
    best: TrialView | None = Field(description="Of those that succeeded so far.")
    error: JobError | None = Field(
        description="Why it failed, or why it added fewer trials than it might."
    )
    created_at: datetime
    finished_at: datetime | None


class ImportanceView(View):
    trials: int = Field(description="That succeeded.")
    importance: dict[str, float] | None = Field(
        description="How much each choice decided whether a trial was among the best quarter, as "
        "shares of 1; null: before ten trials have succeeded, or if they are all alike."
    )
