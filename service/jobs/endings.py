"""How an attempt ends: finished, failed, given back, crashed, or its lease ran out.

A cancel that was accepted before the end wins over every other ending, so the caller who was
answered 202 never sees the model published after all.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, func, literal, null, select, update
from sqlalchemy.orm import Session

from service.db.tables import Job
from service.jobs.states import NOTHING_TO_RESUME, JobState
from service.jobs.transitions import Attempt, lock, move
from service.registry.store import register_version


class Trained(NamedTuple):
    """What a successful attempt hands over."""

    artifact_path: str  # relative to the artifact folder
    artifact_sha256: str
    metrics: dict[str, Any]
    parameters: int
    progress: dict[str, Any]


def finish(db: Session, attempt: Attempt, trained: Trained, *, code_version: str) -> JobState:
    """Makes the job `succeeded` and registers its model version, in one transaction."""
    job = lock(db, attempt)
    if job.cancel_requested_at is not None:
        return _cancel(db, attempt)
    version = register_version(
        db,
        job=job,
        artifact_path=trained.artifact_path,
        artifact_sha256=trained.artifact_sha256,
        metrics=trained.metrics,
        parameters=trained.parameters,
        code_version=code_version,
        attempt=attempt.number,
    )
    move(
        db,
        attempt,
        JobState.RUNNING,
        JobState.SUCCEEDED,
        "finished",
        values={"metrics": trained.metrics, "progress": trained.progress, "error": None},
        detail={"model": job.model_name, "version": version.version, "metrics": trained.metrics},
    )
    return JobState.SUCCEEDED


def fail(db: Session, attempt: Attempt, error_type: str, detail: str) -> JobState:
    """Ends the job for a reason that another attempt would meet again."""
    job = lock(db, attempt)
    if job.cancel_requested_at is not None:
        return _cancel(db, attempt)
    error = {"type": error_type, "detail": detail}
    move(
        db,
        attempt,
        JobState.RUNNING,
        JobState.FAILED,
        "failed",
        values={"error": error},
        detail={"error": error},
    )
    return JobState.FAILED


def release(db: Session, attempt: Attempt) -> JobState:
    """Ends an attempt whose trainer stopped because it was asked to: cancelled, too late, paused,
    preempted, or drained."""
    job = lock(db, attempt)
    if job.cancel_requested_at is not None:
        return _cancel(db, attempt)
    if _is_late(db, job):
        _miss_deadline(db, job)
        return JobState.FAILED
    reason = "drained"
    if job.pause_requested_at is not None:
        reason = "paused"
    elif job.preempt_requested_at is not None:
        reason = "preempted"
    move(db, attempt, JobState.RUNNING, JobState.QUEUED, reason)
    return JobState.QUEUED


def crash(db: Session, attempt: Attempt, detail: str, *, max_crashes: int) -> JobState:
    """Ends an attempt whose trainer died: back to the queue, unless it dies again and again."""
    return _give_up_or_requeue(db, lock(db, attempt), "crashed", detail, max_crashes)


def expire_leases(
    db: Session, *, max_crashes: int, limit: int = 100
) -> list[tuple[UUID, JobState]]:
    """Ends the attempts of workers that are not heard of any more; returns each job's new state."""
    jobs = db.scalars(
        select(Job)
        .where(Job.state == JobState.RUNNING, Job.lease_expires_at < func.clock_timestamp())
        .order_by(Job.lease_expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    detail = "its worker was not heard of until the lease ran out"
    return [
        (job.id, _give_up_or_requeue(db, job, "lease_expired", detail, max_crashes)) for job in jobs
    ]


def expire_deadlines(db: Session, *, limit: int = 100) -> Sequence[UUID]:
    """Fails the waiting jobs whose deadline has passed; the running ones are their workers'."""
    jobs = db.scalars(
        select(Job)
        .where(Job.state == JobState.QUEUED, Job.deadline < func.clock_timestamp())
        .order_by(Job.deadline)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    for job in jobs:
        _miss_deadline(db, job)
    return [job.id for job in jobs]


def forget_checkpoints(db: Session, job_ids: Sequence[UUID], *, limit: int) -> Sequence[UUID]:
    """Those of the jobs, at most `limit`, whose checkpoints nobody will resume from any more.

    Their rows name none after this, so the folders may go after the commit.
    """
    over = db.scalars(
        select(Job.id)
        .where(
            Job.id == any_(literal(list(job_ids), ARRAY(Uuid))), Job.state.in_(NOTHING_TO_RESUME)
        )
        .order_by(Job.id)
        .limit(limit)
    ).all()
    db.execute(
        update(Job)
        .where(Job.id.in_(over), Job.checkpoint.is_not(null()))
        .values(checkpoint=null())
        .execution_options(synchronize_session=False)
    )
    return over


def _give_up_or_requeue(
    db: Session, job: Job, reason: str, detail: str, max_crashes: int
) -> JobState:
    attempt = Attempt(job.id, job.attempt)
    if job.cancel_requested_at is not None:
        return _cancel(db, attempt)
    crashes = job.crashes_without_progress + 1
    if crashes >= max_crashes:
        error = {
            "type": "poisoned",
            "detail": f"{crashes} attempts in a row ended without a new checkpoint;"
            f" the last one: {detail}",
        }
        values = {"crashes_without_progress": crashes, "error": error}
        move(
            db,
            attempt,
            JobState.RUNNING,
            JobState.FAILED,
            "poisoned",
            values=values,
            detail={"error": error},
        )
        return JobState.FAILED
    move(
        db,
        attempt,
        JobState.RUNNING,
        JobState.QUEUED,
        reason,
        values={"crashes_without_progress": crashes},
        detail={"detail": detail},
    )
    return JobState.QUEUED


def _is_late(db: Session, job: Job) -> bool:
    return job.deadline is not None and bool(
        db.scalar(select(func.clock_timestamp() > job.deadline))
    )


def _miss_deadline(db: Session, job: Job) -> None:
    assert job.deadline is not None
    error = {
        "type": "deadline-exceeded",
        "detail": f"it was to end before {job.deadline.isoformat(timespec='seconds')}",
    }
    move(
        db,
        Attempt(job.id, job.attempt),
        JobState(job.state),
        JobState.FAILED,
        "deadline",
        values={"error": error},
        detail={"error": error},
    )


def _cancel(db: Session, attempt: Attempt) -> JobState:
    move(db, attempt, JobState.RUNNING, JobState.CANCELLED, "cancelled")
    return JobState.CANCELLED
