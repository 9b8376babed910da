"""How an attempt ends: finished, failed, given back, crashed, or its lease ran out.

A cancel that was accepted before the end wins over every other ending, so the caller who was
answered 202 never sees the model published after all.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Uuid,
    and_,
    any_,
    func,
    literal,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from service.artifacts.store import ArtifactStore
from service.datasets.store import create_dataset, lock_bytes
from service.db.tables import Job
from service.jobs.states import NOTHING_TO_RESUME, TERMINAL, JobState
from service.jobs.transitions import Attempt, lock, move
from service.registry.store import register_version


class Trained(NamedTuple):
    """What a successful attempt hands over."""

    artifact_path: str  # relative to the artifact folder
    artifact_sha256: str
    metrics: dict[str, Any]
    parameters: int
    progress: dict[str, Any]
    serving: dict[str, Any] | None = None  # `rnn.events.Serving`


class TrialNetwork(TypedDict):
    """What a trial's row keeps until its sweep publishes the network or removes it."""

    path: str  # relative to the artifact folder
    sha256: str
    parameters: int
    code_version: str
    attempt: int
    serving: dict[str, Any] | None


def finish(db: Session, attempt: Attempt, trained: Trained, *, code_version: str) -> JobState:
    """Makes the job `succeeded` and registers its model version, in one transaction.

    That of a trial is registered by its sweep, if it is the best one.
    """
    job = lock(db, attempt)
    if job.cancel_requested_at is not None:
        return _cancel(db, attempt)
    values = {"metrics": trained.metrics, "progress": trained.progress, "error": None}
    if job.sweep_id is not None:
        network = TrialNetwork(
            path=trained.artifact_path,
            sha256=trained.artifact_sha256,
            parameters=trained.parameters,
            code_version=code_version,
            attempt=attempt.number,
            serving=trained.serving,
        )
        move(
            db,
            attempt,
            JobState.RUNNING,
            JobState.SUCCEEDED,
            "finished",
            values={**values, "trained": network},
            detail={"metrics": trained.metrics},
        )
        return JobState.SUCCEEDED
    version = register_version(
        db,
        job=job,
        artifact_path=trained.artifact_path,
        artifact_sha256=trained.artifact_sha256,
        metrics=trained.metrics,
        parameters=trained.parameters,
        code_version=code_version,
        attempt=attempt.number,
        serving=trained.serving,
    )
    move(
        db,
        attempt,
        JobState.RUNNING,
        JobState.SUCCEEDED,
        "finished",
        values=values,
        detail={"model": job.model_name, "version": version.version, "metrics": trained.metrics},
    )
    return JobState.SUCCEEDED


class Predicted(NamedTuple):
    """What a successful prediction of a data set hands over."""

    path: Path
    sha256: str
    size_bytes: int
    profile: dict[str, Any]
    metrics: dict[str, Any]
    progress: dict[str, Any]


def finish_prediction(
    db: Session, attempt: Attempt, predicted: Predicted, artifacts: ArtifactStore
) -> JobState:
    """Makes the job `succeeded` and what it wrote a data set of the workspace, in one transaction.

    May be repeated where the commit failed: the file has its place then, and the row has not.
    """
    job = lock(db, attempt)
    if job.cancel_requested_at is not None:
        return _cancel(db, attempt)
    lock_bytes(db, predicted.sha256)
    dataset = create_dataset(
        db,
        job.workspace_id,
        name=job.config["name"],
        filename=None,
        size_bytes=predicted.size_bytes,
        sha256=predicted.sha256,
        profile=predicted.profile,
    )
    if predicted.path.exists():
        artifacts.keep_dataset(predicted.path, predicted.sha256)
    move(
        db,
        attempt,
        JobState.RUNNING,
        JobState.SUCCEEDED,
        "finished",
        values={
            "metrics": predicted.metrics,
            "progress": predicted.progress,
            "error": None,
            "result_dataset_id": dataset.id,
        },
        detail={"dataset": str(dataset.id), "metrics": predicted.metrics},
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
    preempted, or else drained, as where a pause was taken back while the trainer stopped."""
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


def expire_lease(db: Session, *, max_crashes: int) -> tuple[UUID, JobState] | None:
    """Ends the attempt of a worker that is not heard of any more; returns the job's new state.

    None where there is none. One a transaction, as in `expire_deadline`: see
    `service.jobs.transitions` on the order of locks.
    """
    job = _lock_first(
        db,
        (Job.state == JobState.RUNNING, Job.lease_expires_at < func.clock_timestamp()),
        Job.lease_expires_at,
    )
    if job is None:
        return None
    detail = "its worker was not heard of until the lease ran out"
    return job.id, _give_up_or_requeue(db, job, "lease_expired", detail, max_crashes)


def expire_deadline(db: Session) -> UUID | None:
    """Fails a waiting job whose deadline has passed; the running ones are their workers'."""
    job = _lock_first(
        db,
        # Stable within the statement, unlike `clock_timestamp`: an index can be searched for it.
        (Job.state == JobState.QUEUED, Job.deadline < func.statement_timestamp()),
        Job.deadline,
    )
    if job is None:
        return None
    _miss_deadline(db, job)
    return job.id


def _lock_first(
    db: Session, conditions: Iterable[ColumnElement[bool]], order: InstrumentedAttribute[Any]
) -> Job | None:
    """Passes over rows that somebody else has locked."""
    return db.scalar(
        select(Job)
        .where(*conditions)
        .order_by(order)
        .limit(1)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )


def forget_checkpoints(
    db: Session, job_ids: Sequence[UUID], *, keep_failed: timedelta
) -> Sequence[Attempt]:
    """The last attempts of those of the jobs that nobody will resume any more.

    Their rows name no checkpoint after this, so the folders of these attempts and of those before
    may go after the commit. Not those of later ones: somebody may have such a job tried again.

    Args:
        keep_failed: for how long a failed job is resumed from its checkpoint.
    """
    resumed_no_more = or_(
        Job.state.in_(NOTHING_TO_RESUME),
        and_(Job.state == JobState.FAILED, Job.finished_at < func.clock_timestamp() - keep_failed),
    )
    over = (
        select(Job.id)
        .where(Job.id == any_(literal(list(job_ids), ARRAY(Uuid))), resumed_no_more)
        .order_by(Job.id)
    )
    forgotten = db.execute(
        update(Job)
        .where(Job.id.in_(over), resumed_no_more)
        .values(checkpoint=null())
        .returning(Job.id, Job.attempt)
        .execution_options(synchronize_session=False)
    )
    return sorted((Attempt(*row) for row in forgotten), key=lambda attempt: attempt.job_id)


def unfinished_attempts(db: Session, attempts: Collection[Attempt]) -> set[Attempt]:
    """Those that are the last ones of jobs which have not ended."""
    ids = any_(literal([attempt.job_id for attempt in attempts], ARRAY(Uuid)))
    rows = db.execute(select(Job.id, Job.attempt).where(Job.id == ids, Job.state.not_in(TERMINAL)))
    return {Attempt(*row) for row in rows} & set(attempts)


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
