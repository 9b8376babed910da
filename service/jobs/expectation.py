"""When jobs are expected to start and to end, from what was measured."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.db.tables import Job, Worker
from service.jobs.states import JobState
from service.jobs.workers import SERVES, is_live

RECENT_JOBS = 50  # whose mean time stands for that of the jobs ahead


class Queue(NamedTuple):
    """What is known of those who serve a queue, for a guess at the wait in it.

    Attributes:
        slots: of live workers.
        running: jobs in them.
        remaining_seconds: of all of these together, as far as their rates tell.
        job_seconds: mean time of recent jobs; None: there were none.
    """

    slots: int
    running: int
    remaining_seconds: float
    job_seconds: float | None

    def wait_seconds(self, position: int) -> float | None:
        """Until the job at this position (1: the next) is started; None where nothing tells."""
        if not self.slots:
            return None
        ahead = position - 1
        if self.running + ahead < self.slots:
            return 0.0
        if ahead and self.job_seconds is None:
            return None
        return (self.remaining_seconds + ahead * (self.job_seconds or 0.0)) / self.slots


def remaining_seconds(job: Job) -> float | None:
    """To a running job's last possible step, at the rate that it had until now."""
    rate = job.progress.get("steps_per_second")
    if job.state != JobState.RUNNING or not rate:
        return None
    return float((job.progress["total_steps"] - job.progress["step"]) / rate)


def queues_now(db: Session, names: Iterable[str], *, live_seconds: float) -> dict[str, Queue]:
    """What is known of the named queues at this moment."""
    return {name: _queue(db, name, live_seconds) for name in names}


def _queue(db: Session, name: str, live_seconds: float) -> Queue:
    servers = [queue for queue, served in SERVES.items() if name in served]
    serving: Any = (Worker.queue.in_(servers), is_live(live_seconds))
    slots = db.scalar(select(func.coalesce(func.sum(Worker.slots), 0)).where(*serving))
    running = db.scalars(
        select(Job)
        .join(Worker, Worker.id == Job.worker_id)
        .where(Job.state == JobState.RUNNING, *serving)
    ).all()
    recent = (
        select(Job.finished_at - Job.started_at)
        .where(Job.state == JobState.SUCCEEDED, Job.queue == name)
        .order_by(Job.id.desc())
        .limit(RECENT_JOBS)
        .subquery()
    )
    mean = db.scalar(select(func.extract("epoch", func.avg(recent.c[0]))))
    job_seconds = None if mean is None else float(mean)
    remaining = [_remaining(job, job_seconds) for job in running]
    return Queue(int(slots or 0), len(running), sum(remaining), job_seconds)


def _remaining(job: Job, job_seconds: float | None) -> float:
    """One that has no rate yet has just begun."""
    measured = remaining_seconds(job)
    return (job_seconds or 0.0) if measured is None else measured
