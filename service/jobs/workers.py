"""The workers that are there, and which queue a job belongs to. A row is a claim about the past."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, insert, select, update
from sqlalchemy.orm import Session

from service.db.tables import CLAIMABLE, Job, Worker
from service.jobs.states import JobState
from service.jobs.transitions import Attempt, NewEvent, write

CPU, GPU = "cpu", "gpu"
FORGET_SECONDS = 24 * 3600.0  # a worker not heard of for so long is not listed
SERVES = {CPU: (CPU,), GPU: (GPU, CPU)}  # queues that a worker of a queue claims from


class WorkerRow(NamedTuple):
    worker: Worker
    live: bool
    running_jobs: int


def register(
    db: Session,
    worker_id: UUID,
    *,
    hostname: str,
    pid: int,
    queue: str,
    slots: int,
    devices: dict[str, Any],
) -> None:
    db.execute(
        insert(Worker).values(
            id=worker_id, hostname=hostname, pid=pid, queue=queue, slots=slots, devices=devices
        )
    )


def seen(db: Session, worker_id: UUID, devices: dict[str, Any]) -> None:
    """The worker is there, and this is how busy its devices are."""
    db.execute(
        update(Worker)
        .where(Worker.id == worker_id)
        .values(seen_at=func.clock_timestamp(), devices=devices)
        .execution_options(synchronize_session=False)
    )


def stopped(db: Session, worker_id: UUID) -> None:
    db.execute(
        update(Worker)
        .where(Worker.id == worker_id)
        .values(stopped_at=func.clock_timestamp())
        .execution_options(synchronize_session=False)
    )


def list_workers(db: Session, *, live_seconds: float) -> Sequence[WorkerRow]:
    """Workers heard of lately, newest first, with the jobs that each one runs."""
    running = (
        select(func.count())
        .where(Job.worker_id == Worker.id, Job.state == JobState.RUNNING)
        .correlate(Worker)
        .scalar_subquery()
    )
    rows = db.execute(
        select(Worker, is_live(live_seconds), running)
        .where(Worker.seen_at > func.clock_timestamp() - timedelta(seconds=FORGET_SECONDS))
        .order_by(Worker.started_at.desc())
        .limit(200)
    )
    return [WorkerRow(worker, live, count) for worker, live, count in rows]


def live_slots(db: Session, *, live_seconds: float) -> int:
    """Jobs that all live workers together can train at a time."""
    slots = select(func.coalesce(func.sum(Worker.slots), 0)).where(is_live(live_seconds))
    return int(db.scalar(slots) or 0)


def choose_queue(db: Session, device: str, *, live_seconds: float) -> str:
    """The queue for a job that asked for `device`: `auto` takes a GPU if a worker offers one."""
    if device == "cuda":
        return GPU
    if device == "auto" and _has_live_gpu(db, live_seconds):
        return GPU
    return CPU


def waiting_queues(db: Session, *, live_seconds: float) -> list[str]:
    """Queues with jobs that a live worker could take."""
    live = db.scalars(select(Worker.queue).where(is_live(live_seconds)).distinct())
    served = {queue for worker_queue in live for queue in SERVES[worker_queue]}
    return [queue for queue in sorted(served) if _has_claimable(db, queue)]


def _has_claimable(db: Session, queue: str) -> bool:
    # In the order of an index, or the planner may read the whole queue for the first one.
    queued = select(Job.id).where(Job.queue == queue, CLAIMABLE)
    return db.scalar(queued.order_by(Job.priority.desc(), Job.id).limit(1)) is not None


def leave_dead_gpus(db: Session, *, live_seconds: float) -> int:
    """Moves waiting jobs for any device to the CPU queue while no GPU worker is there."""
    if _has_live_gpu(db, live_seconds):
        return 0
    jobs = db.execute(
        select(Job.id, Job.attempt)
        .where(CLAIMABLE, Job.queue == GPU, Job.device == "auto")
        .limit(1000)
        .with_for_update(skip_locked=True)
    ).all()
    text = "no GPU worker is there any more: the job waits for a CPU worker"
    for job in jobs:
        write(
            db,
            Attempt(job.id, job.attempt),
            state=JobState.QUEUED,
            values={"queue": CPU},
            events=[NewEvent("message", {"level": "info", "text": text})],
        )
    return len(jobs)


def _has_live_gpu(db: Session, live_seconds: float) -> bool:
    query = select(Worker.id).where(Worker.queue == GPU, is_live(live_seconds)).limit(1)
    return db.scalar(query) is not None


def is_live(live_seconds: float) -> ColumnElement[bool]:
    """Of a worker's row: it was heard of within so long, and did not say that it stops."""
    since = func.clock_timestamp() - timedelta(seconds=live_seconds)
    return and_(Worker.stopped_at.is_(None), Worker.seen_at > since)
