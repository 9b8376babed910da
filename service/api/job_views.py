"""Jobs as HTTP shows them, with what is known of the queue that they wait in."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from service.api.deps import Services
from service.api.schemas.jobs import AlertView, HoldName, JobError, JobView, Progress, WorkView
from service.api.schemas.models import BaseModelView
from service.db.tables import Job
from service.jobs.expectation import Queue, queues_now, remaining_seconds
from service.jobs.kinds import JobKind
from service.jobs.states import JobState
from service.jobs.store import JobRow

AnyView = TypeVar("AnyView", bound=WorkView)


def job_view(db: Session, services: Services, row: JobRow) -> JobView:
    return job_views(db, services, [row])[0]


def job_views(db: Session, services: Services, rows: Sequence[JobRow]) -> list[JobView]:
    return show(db, services, rows, _job)


def show(
    db: Session,
    services: Services,
    rows: Sequence[JobRow],
    view: Callable[[JobRow, dict[str, Any]], AnyView],
) -> list[AnyView]:
    """The view of each row, made of it and of the fields of a `WorkView`."""
    waiting = {row.job.queue for row in rows if row.queue_position is not None}
    queues = queues_now(db, waiting, live_seconds=services.settings.lease_seconds)
    return [view(row, _work(row, queues.get(row.job.queue))) for row in rows]


def fraction_done(job: Job) -> float:
    """Of all steps, or rows, 0 to 1."""
    if job.state == JobState.SUCCEEDED:
        return 1.0
    step, total = job.progress.get("step", 0), job.progress.get("total_steps")
    return min(1.0, step / total) if total else 0.0


def _job(row: JobRow, work: dict[str, Any]) -> JobView:
    job = row.job
    return JobView(
        **work,
        kind=JobKind(job.kind),
        model=job.model_name,
        version=row.version,
        progress=Progress(
            fraction=fraction_done(job),
            step=job.progress.get("step", 0),
            total_steps=job.progress.get("total_steps"),
            epoch=job.progress.get("epoch", 0.0),
        ),
        metrics=job.metrics,
        alerts=[AlertView.model_validate(alert) for alert in job.progress.get("alerts", [])],
        sweep=job.sweep_id,
        trial=job.trial,
        base_model=BaseModelView(**job.base) if job.base else None,
    )


def _work(row: JobRow, queue: Queue | None) -> dict[str, Any]:
    job, position = row.job, row.queue_position
    return {
        "id": job.id,
        "task": job.task,
        "dataset": job.dataset_id,
        "state": JobState(job.state),
        "attempt": job.attempt,
        "cancel_requested": job.cancel_requested_at is not None,
        "pause_requested": job.pause_requested_at is not None,
        "hold": _hold(job),
        "queue_position": position,
        "eta_seconds": remaining_seconds(job),
        "starts_in_seconds": queue.wait_seconds(position) if queue and position else None,
        "error": JobError(**job.error) if job.error else None,
        "device": job.device,
        "queue": job.queue,
        "priority": job.priority,
        "preempts": job.preempts,
        "after": row.after,
        "deadline": job.deadline,
        "metadata": job.labels,
        "config": job.config,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }


def _hold(job: Job) -> HoldName | None:
    if job.state != JobState.QUEUED:
        return None
    if job.paused_at is not None:
        return "paused"
    return "after" if job.blocked else None
