"""How a worker gets a job and keeps it: the claim, the lease, the heartbeat."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from enum import Enum
from typing import Any, NamedTuple, TypeVarTuple
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Row,
    Select,
    Text,
    false,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from service.db.tables import CLAIMABLE, Dataset, Job, JobAttempt, Workspace
from service.jobs import quotas
from service.jobs.quotas import UNLIMITED, Quota
from service.jobs.states import JobState
from service.jobs.transitions import Attempt, move

FIRST_OFFERS = 8

Columns = TypeVarTuple("Columns")


class Claim(NamedTuple):
    """A job that is ours until the lease runs out, with what its trainer reads."""

    attempt: Attempt
    job: Job
    dataset_sha256: str
    profile: dict[str, Any]


class Lease(Enum):
    """What a heartbeat is answered: the lease is held, and whether the trainer shall stop."""

    HELD = "held"
    CANCEL_REQUESTED = "cancel requested"
    STOP_REQUESTED = "stop requested"  # paused, preempted or too late: save a checkpoint first
    LOST = "lost"  # another attempt runs, or the job has ended: stop at once and write nothing


_REQUESTS = (
    Job.cancel_requested_at,
    or_(
        Job.pause_requested_at.is_not(None),
        Job.preempt_requested_at.is_not(None),
        func.coalesce(Job.deadline < func.clock_timestamp(), false()),
    ).label("stop_requested"),
)


def lease_end(lease_seconds: float) -> ColumnElement[Any]:
    """A moment on the database's clock; the clocks of the machines need not agree."""
    return func.clock_timestamp() + timedelta(seconds=lease_seconds)


def claim(
    db: Session,
    *,
    worker_id: UUID,
    queues: Sequence[str],
    lease_seconds: float,
    defaults: Quota = UNLIMITED,
) -> Claim | None:
    """Takes the best queued job: by priority, then the workspace with the fewest running, then age.

    Each workspace with a job that may run offers the best one of each queue; what all the others
    have queued is not looked at. Rows that another worker is claiming at this moment are passed
    over, not waited for.
    """
    for workspace, queue in _offers(db, queues):
        with db.begin_nested() as turn:
            if quotas.may_run(db, workspace, defaults):
                found = _best(db, workspace.id, queue)
                if found is not None:
                    return _claimed(db, *found, worker_id=worker_id, lease_seconds=lease_seconds)
            turn.rollback()  # gives the lock of its quota back: nobody waits for a second one
    return None


def _offers(db: Session, queues: Sequence[str]) -> Iterator[Row[Workspace, str]]:
    """The workspaces with a job in one of the queues that may run, in the order of their turns.

    The first ones are read first: one of them is nearly always taken.
    """
    names = func.unnest(literal(list(queues), ARRAY(Text)))
    served = names.table_valued("queue").render_derived("served")
    best = (
        _first(select(Job.id, Job.priority), Workspace.id, served.c.queue)
        .correlate(Workspace, served)
        .lateral("best")
    )
    running = (
        select(func.count())
        .where(Job.workspace_id == Workspace.id, Job.state == JobState.RUNNING)
        .scalar_subquery()
    )
    turns = (
        select(Workspace, served.c.queue)
        .join(served, true())
        .join(best, true())
        .order_by(best.c.priority.desc(), running, best.c.id)
        .execution_options(populate_existing=True)
    )
    first = db.execute(turns.limit(FIRST_OFFERS)).all()
    yield from first
    if len(first) == FIRST_OFFERS:
        yield from db.execute(turns.offset(FIRST_OFFERS)).all()


def _best(db: Session, workspace_id: UUID, queue: str) -> Row[Job, str, dict[str, Any]] | None:
    with_data = select(Job, Dataset.sha256, Dataset.profile).join(
        Dataset, Dataset.id == Job.dataset_id
    )
    return db.execute(
        _first(with_data, literal(workspace_id), literal(queue))
        .with_for_update(of=Job, skip_locked=True)
        .execution_options(populate_existing=True)
    ).first()


def _first(
    query: Select[*Columns],
    workspace_id: InstrumentedAttribute[UUID] | ColumnElement[UUID],
    queue: ColumnElement[str],
) -> Select[*Columns]:
    """Of the jobs of a workspace in a queue that may run, the one whose turn it is.

    A range in the order of the index `jobs_claim`, instead of two equalities: no other index gives
    this order. A planner that knows nothing of the data, or has outdated statistics, would search
    the whole queue by the index `jobs_waiting` for the first job of the workspace.
    """
    owned, wanted = tuple_(Job.workspace_id, Job.queue), tuple_(workspace_id, queue)
    return (
        query.where(owned >= wanted, owned <= wanted, CLAIMABLE)
        .order_by(Job.workspace_id, Job.queue, Job.priority.desc(), Job.id)
        .limit(1)
    )


def _claimed(
    db: Session,
    job: Job,
    sha256: str,
    profile: dict[str, Any],
    *,
    worker_id: UUID,
    lease_seconds: float,
) -> Claim:
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
    """Prolongs the lease and answers whether the trainer shall stop."""
    row = db.execute(
        update(Job)
        .where(
            Job.id == attempt.job_id,
            Job.attempt == attempt.number,
            Job.state == JobState.RUNNING,
        )
        .values(lease_expires_at=lease_end(lease_seconds))
        .returning(*_REQUESTS)
        .execution_options(synchronize_session=False)
    ).first()
    return _lease(row)


def look(db: Session, attempt: Attempt) -> Lease:
    """What `heartbeat` would answer, without a write: cheap enough to ask every second."""
    row = db.execute(
        select(*_REQUESTS).where(
            Job.id == attempt.job_id,
            Job.attempt == attempt.number,
            Job.state == JobState.RUNNING,
        )
    ).first()
    return _lease(row)


def _lease(row: Any) -> Lease:
    if row is None:
        return Lease.LOST
    if row.cancel_requested_at is not None:
        return Lease.CANCEL_REQUESTED
    return Lease.STOP_REQUESTED if row.stop_requested else Lease.HELD
