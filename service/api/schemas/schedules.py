"""Bodies of `/schedules`."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field

from service.api.schemas.base import StrictBody, View
from service.jobs.requests import JobRequest
from service.registry.references import NAME_PATTERN
from service.schedules.times import Cron, Timezone


def _repeats(job: JobRequest) -> JobRequest:
    if job.after or job.deadline is not None:
        raise ValueError("a job that is repeated has neither `after` nor `deadline`")
    return job


RepeatedJob = Annotated[
    JobRequest,
    AfterValidator(_repeats),
    Field(description="The body of `POST /jobs`; its `dataset` best is an alias."),
]


class ScheduleCreation(StrictBody):
    name: str = Field(pattern=NAME_PATTERN, description="Of your own, each once.")
    cron: Cron
    timezone: Timezone = "UTC"
    job: RepeatedJob
    enabled: bool = True


class ScheduleChange(StrictBody):
    """What is left out, or null, stays."""

    cron: Cron | None = None
    timezone: Timezone | None = None
    job: RepeatedJob | None = None
    enabled: bool | None = None


class ScheduleError(View):
    type: str
    detail: str
    at: datetime


class ScheduleView(View):
    id: UUID
    name: str
    cron: str
    timezone: str
    job: dict[str, Any]
    enabled: bool
    next_run_at: datetime | None = Field(description="Null: it is not enabled.")
    last_run_at: datetime | None = Field(description="When `last_job` was submitted.")
    last_job: UUID | None
    last_error: ScheduleError | None = Field(
        description="Why the last time made no job; null where it made one."
    )
    created_at: datetime
