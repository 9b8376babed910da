"""How a worker gets a job and keeps it: the claim, the lease, the heartbeat."""

from collections.abc import Sequence
from datetime import timedelta
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from service.db.tables import Dataset, Job, JobAttempt
from service.jobs.states import JobState
from service.jobs.transitions import Attempt, move


class Claim(NamedTuple):
    """A job that is ours until the lease runs out, with what its trainer reads."""

    attempt: Attempt
    job: Job
    dataset_sha256: str
    profile: dict[str, Any]


class Lease(Enum):
    """What a heartbeat is answered."""

    HELD = "held"
    CANCEL_REQUESTED = "cancel requested"
    LOST = "lost"  # another attempt runs, or the job has ended: stop at once and write nothing


def lease_end(lease_seconds: float) -> ColumnElement[Any]:
    """A moment on the database's clock; the clocks of the machines need not agree."""
    return func.clock_timestamp() + timedelta(seconds=lease_seconds)


def claim(
    db: Session, *, worker_id: UUID, queues: Sequence[str], lease_seconds: float
) -> Claim | None:
    """Takes the best queued job: by priority, then the workspace with the fewest running, then age.

    Rows that another worker is claiming at this moment are passed over, not waited for.
    """
    running = (
        select(Job.workspace_id, func.count().label("jobs"))
        .where(Job.state == JobState.RUNNING)
        .group_by(Job.workspace_id)
        .subquery()
    )
    found = db.execute(
        select(Job, Dataset.sha256, Dataset.profile)
        .join(Dataset, Dataset.id == Job.dataset_id)
        .outerjoin(running, running.c.workspace_id == Job.workspace_id)
        .where(Job.state == JobState.QUEUED, Job.queue.in_(queues))
        .order_by(Job.priority.desc(), func.coalesce(running.c.jobs, 0), Job.id)
        .limit(1)
        .with_for_update(of=Job, skip_locked=True)
        .execution_options(populate_existing=True)
    ).first()
    if found is None:
        return None
    job, sha256, profile = found
    attempt = Attempt(job.id, job.attempt + 1)
    move(
        db,
        Attempt(job.id, job.attempt),
        JobState.QUEUED,
        JobState.RUNNING,
        "claimed",
        values={
            "attempt": attempt.number,
            "worker_id": worker_id,
            "lease_expires_at": lease_end(lease_seconds),
            "started_at": func.coalesce(Job.started_at, func.clock_timestamp()),
        },
        detail={"worker_id": str(worker_id)},
    )
    db.add(JobAttempt(job_id=job.id, attempt=attempt.number, worker_id=worker_id))
    db.flush()
    db.refresh(job)
    return Claim(attempt, job, sha256, profile)


def heartbeat(db: Session, attempt: Attempt, *, lease_seconds: float) -> Lease:
    """Prolongs the lease and answers whether somebody asked to cancel."""
    row = db.execute(
        update(Job)
        .where(
            Job.id == attempt.job_id,
            Job.attempt == attempt.number,
            Job.state == JobState.RUNNING,
        )
        .values(lease_expires_at=lease_end(lease_seconds))
        .returning(Job.cancel_requested_at)
        .execution_options(synchronize_session=False)
    ).first()
    return _lease(row)


def look(db: Session, attempt: Attempt) -> Lease:
    """What `heartbeat` would answer, without a write: cheap enough to ask every second."""
    row = db.execute(
        select(Job.cancel_requested_at).where(
            Job.id == attempt.job_id,
            Job.attempt == attempt.number,
            Job.state == JobState.RUNNING,
        )
    ).first()
    return _lease(row)


def _lease(row: Any) -> Lease:
    if row is None:
        return Lease.LOST
    return Lease.HELD if row.cancel_requested_at is None else Lease.CANCEL_REQUESTED
