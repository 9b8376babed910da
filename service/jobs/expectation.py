"""When jobs are expected to start and to end, from what was measured."""

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.db.tables import Job, JobAttempt, Worker
from service.jobs.states import JobState
from service.jobs.workers import SERVES, is_live

RECENT_ATTEMPTS = 200  # that were finished: their mean time stands for that of the jobs ahead


class Queue(NamedTuple):
    """What is known of those who serve a queue, for a guess at the wait in it.

    Attributes:
        free_in_seconds: for each slot of a live worker, in order; infinite where nothing tells.
        job_seconds: mean time of recent attempts; infinite where there were none.
    """

    free_in_seconds: Sequence[float]
    job_seconds: float

    def wait_seconds(self, position: int) -> float | None:
        """Until the job at this position (1: the next) is started; None where nothing tells.

        The slots are taken in turns, and each turn is a job of the mean time.
        """
        slots = len(self.free_in_seconds)
        if not slots:
            return None
        turns, slot = divmod(position - 1, slots)
        wait = self.free_in_seconds[slot] + (turns * self.job_seconds if turns else 0.0)
        return wait if math.isfinite(wait) else None


def remaining_seconds(job: Job) -> float | None:
    """To a running job's last possible step, at the rate that it had until now."""
    rate = job.progress.get("steps_per_second")
    if job.state != JobState.RUNNING or not rate:
        return None
    return float((job.progress["total_steps"] - job.progress["step"]) / rate)


def queues_now(db: Session, names: Collection[str], *, live_seconds: float) -> dict[str, Queue]:
    """What is known of the named queues at this moment."""
    if not names:
        return {}
    means = _mean_seconds(db)
    return {name: _queue(db, name, means.get(name, math.inf), live_seconds) for name in names}


def _queue(db: Session, name: str, job_seconds: float, live_seconds: float) -> Queue:
    servers = [queue for queue, served in SERVES.items() if name in served]
    serving: Any = (Worker.queue.in_(servers), is_live(live_seconds))
    slots = db.scalar(select(func.coalesce(func.sum(Worker.slots), 0)).where(*serving))
    running = db.scalars(
        select(Job)
        .join(Worker, Worker.id == Job.worker_id)
        .where(Job.state == JobState.RUNNING, *serving)
    ).all()
    busy = [_remaining(job, job_seconds) for job in running]
    idle = [0.0] * (int(slots or 0) - len(busy))
    return Queue(sorted(idle + busy), job_seconds)


def _remaining(job: Job, job_seconds: float) -> float:
    """One that has no rate yet has just begun."""
    measured = remaining_seconds(job)
    return job_seconds if measured is None else measured


def _mean_seconds(db: Session) -> dict[str, float]:
    """How long recent attempts took that ended with a model, by the queue of their jobs."""
    recent = (
        select(JobAttempt.job_id, (JobAttempt.ended_at - JobAttempt.started_at).label("took"))
        .where(JobAttempt.ended_at.is_not(None), JobAttempt.outcome == "finished")
        .order_by(JobAttempt.ended_at.desc())
        .limit(RECENT_ATTEMPTS)
        .subquery()
    )
    means = db.execute(
        select(Job.queue, func.extract("epoch", func.avg(recent.c.took)))
        .join(recent, recent.c.job_id == Job.id)
        .group_by(Job.queue)
    )
    return {queue: float(seconds) for queue, seconds in means}
