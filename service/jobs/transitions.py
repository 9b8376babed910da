"""The one way to change a job's row: guarded by attempt and state, recorded, announced.

Every change is an UPDATE that names the attempt and the state it expects. It numbers its events
under the lock that it takes on the row, so `seq` is dense and in the order of the commits. Whoever
finds that the row moved on without him gets `StaleAttemptError` and has changed nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Select, func, insert, null, or_, select, update
from sqlalchemy.orm import Session

from service.db.notifications import notify_of_job
from service.db.tables import CLAIMABLE, Job, JobAttempt, JobDependency, JobEvent
from service.jobs.states import NOTHING_TO_RESUME, TERMINAL, JobState, is_allowed

MOST_WAKES = 10  # the reaper wakes further workers

EventType = Literal["state", "metrics", "sample", "checkpoint", "message", "alert"]


class StaleAttemptError(Exception):
    """The job left the state or the attempt that the writer believed in; nothing was written."""


@dataclass(frozen=True)
class Attempt:
    """One execution of a job: the fence that every write of a worker names."""

    job_id: UUID
    number: int


@dataclass(frozen=True)
class NewEvent:
    type: EventType
    data: dict[str, Any] = field(default_factory=dict)


def lock(db: Session, attempt: Attempt) -> Job:
    """The running job's row, locked until the transaction ends, if the attempt still owns it."""
    job = db.scalar(
        select(Job)
        .where(
            Job.id == attempt.job_id,
            Job.attempt == attempt.number,
            Job.state == JobState.RUNNING,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if job is None:
        raise StaleAttemptError(f"attempt {attempt.number} of job {attempt.job_id} is over")
    return job


def write(
    db: Session,
    attempt: Attempt,
    *,
    state: JobState = JobState.RUNNING,
    values: dict[str, Any] | None = None,
    events: Sequence[NewEvent] = (),
) -> None:
    """Changes columns of a job in `state` and appends events, or raises `StaleAttemptError`."""
    last_seq = db.scalar(
        update(Job)
        .where(Job.id == attempt.job_id, Job.attempt == attempt.number, Job.state == state)
        .values(**(values or {}), last_event_seq=Job.last_event_seq + len(events))
        .returning(Job.last_event_seq)
        .execution_options(synchronize_session=False)
    )
    if last_seq is None:
        raise StaleAttemptError(f"attempt {attempt.number} of job {attempt.job_id} is over")
    append(db, attempt.job_id, (values or {}).get("attempt", attempt.number), last_seq, events)


def move(
    db: Session,
    attempt: Attempt,
    source: JobState,
    target: JobState,
    reason: str,
    *,
    values: dict[str, Any] | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Takes one transition of the table, with its event; ends the attempt when it left `running`.

    The end of a job is told to those that wait for it. Raises StaleAttemptError where the row is
    not in `source` under this attempt any more.
    """
    _take(db, attempt, source, target, reason, values or {}, detail or {})
    if target is JobState.SUCCEEDED:
        _let_go(db, attempt.job_id)
    elif target in TERMINAL:
        _fail_dependents(db, attempt.job_id, target)


def _take(
    db: Session,
    attempt: Attempt,
    source: JobState,
    target: JobState,
    reason: str,
    values: dict[str, Any],
    detail: dict[str, Any],
) -> None:
    assert is_allowed(source, target, reason), (source, target, reason)
    changes: dict[str, Any] = {**values, "state": target}
    if source is JobState.RUNNING:
        changes |= {"worker_id": None, "lease_expires_at": None}
        changes |= {"pause_requested_at": None, "preempt_requested_at": None}
        if target is JobState.QUEUED:
            changes["paused_at"] = Job.pause_requested_at
    if target in TERMINAL:
        changes["finished_at"] = func.clock_timestamp()
    if target in NOTHING_TO_RESUME:
        changes["checkpoint"] = null()  # the folders go after the commit
    if target is JobState.QUEUED:
        changes["queued_at"] = func.clock_timestamp()
    data = {"from": source, "to": target, "reason": reason, **detail}
    write(db, attempt, state=source, values=changes, events=[NewEvent("state", data)])
    if source is JobState.RUNNING:
        db.execute(
            update(JobAttempt)
            .where(JobAttempt.job_id == attempt.job_id, JobAttempt.attempt == attempt.number)
            .values(ended_at=func.clock_timestamp(), outcome=reason)
            .execution_options(synchronize_session=False)
        )


# The rows of jobs are locked from old to new, and a job waits for older ones only: whoever holds
# the row of one and waits for that of another waits for a newer one, so nobody waits in a circle.


def _let_go(db: Session, job_id: UUID) -> None:
    """Unblocks the jobs that waited for this one alone.

    Their rows are locked before their other dependencies are read: of two jobs that succeed at the
    same time, the second to get here sees the end of the first.
    """
    direct = select(JobDependency.job_id).where(JobDependency.after_id == job_id)
    for job in _lock_waiting(db, direct):
        if all(state == JobState.SUCCEEDED for state in dependency_states(db, job.id).values()):
            waited = NewEvent("message", {"level": "info", "text": "waits for no other job"})
            write(
                db,
                Attempt(job.id, job.attempt),
                state=JobState.QUEUED,
                values={"blocked": False, "queued_at": func.clock_timestamp()},
                events=[waited],
            )


def _fail_dependents(db: Session, job_id: UUID, ended: JobState) -> None:
    """Fails the jobs that wait for this one, for those, and so on."""
    reached = (
        select(JobDependency.job_id).where(JobDependency.after_id == job_id).cte(recursive=True)
    )
    further = select(JobDependency.job_id).join(reached, JobDependency.after_id == reached.c.job_id)
    reached = reached.union(further)
    error = {
        "type": "dependency-failed",
        "detail": f"the job {job_id}, which had to succeed before, is {ended}",
    }
    # Until there are none: one may be submitted while the rows of others are waited for.
    while waiting := _lock_waiting(db, select(reached.c.job_id)):
        for job in waiting:
            _take(
                db,
                Attempt(job.id, job.attempt),
                JobState.QUEUED,
                JobState.FAILED,
                "dependency_failed",
                {"error": error},
                {"error": error},
            )


def _lock_waiting(db: Session, ids: Select[UUID]) -> Sequence[Job]:
    """Those of the jobs that wait for others, locked until the transaction ends."""
    return db.scalars(
        select(Job)
        .where(Job.id.in_(ids), Job.state == JobState.QUEUED, Job.blocked)
        .order_by(Job.id)
        .with_for_update(of=Job)
        .execution_options(populate_existing=True)
    ).all()


def dependency_states(db: Session, job_id: UUID, *, keep: bool = False) -> dict[UUID, JobState]:
    """The states of the jobs that have to succeed before this one may start.

    With `keep` they stay as they are until the transaction ends.
    """
    query = (
        select(Job.id, Job.state)
        .join(JobDependency, JobDependency.after_id == Job.id)
        .where(JobDependency.job_id == job_id)
        .order_by(Job.id)
    )
    if keep:
        query = query.with_for_update(read=True, of=Job)
    return {other: JobState(state) for other, state in db.execute(query)}


def claimable_queues(db: Session, job_id: UUID) -> Sequence[str]:
    """The queue of each job that may be claimed now that this one was given back or has ended: of
    itself, and of those that waited for it. No more of them than workers are to be woken for."""
    dependents = select(JobDependency.job_id).where(JobDependency.after_id == job_id)
    return db.scalars(
        select(Job.queue)
        .where(or_(Job.id == job_id, Job.id.in_(dependents)), CLAIMABLE)
        .order_by(Job.priority.desc(), Job.id)
        .limit(MOST_WAKES)
    ).all()


def append(
    db: Session, job_id: UUID, attempt: int, last_seq: int, events: Sequence[NewEvent]
) -> None:
    """Inserts events that end at `last_seq`; the caller holds the lock of the job's row."""
    if not events:
        return
    first = last_seq - len(events) + 1
    db.execute(
        insert(JobEvent),
        [
            {
                "job_id": job_id,
                "seq": first + offset,
                "attempt": attempt,
                "type": event.type,
                "data": event.data,
            }
            for offset, event in enumerate(events)
        ],
    )
    notify_of_job(db, job_id, last_seq)
