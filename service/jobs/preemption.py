"""Jobs that were submitted to go first may have running ones of lower priority give way."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.db.tables import CLAIMABLE, Job, Worker
from service.jobs.states import JobState
from service.jobs.transitions import Attempt, NewEvent, write
from service.jobs.workers import SERVES, is_live

MOST_AT_ONCE = 100  # waiting jobs looked at in one call


def make_room(db: Session, *, live_seconds: float) -> list[Job]:
    """Asks running jobs to give their slots up for waiting ones that preempt; returns those asked.

    A waiting job that finds no idle slot takes that of a running job of lower priority: of the
    lowest, and there of the one that was queued last. It is saved, goes back to the queue and
    resumes from there. Nobody is asked twice for the same slot: jobs that were asked and did not
    stop yet count as idle slots.
    """
    waiting = db.scalars(
        select(Job)
        .where(CLAIMABLE, Job.preempts)
        .order_by(Job.priority.desc(), Job.id)
        .limit(MOST_AT_ONCE)
    ).all()
    if not waiting:
        return []
    free = _free_slots(db, live_seconds)
    asked = []
    for job in waiting:
        servers = [queue for queue, served in SERVES.items() if job.queue in served]
        server = next((queue for queue in servers if free.get(queue, 0) > 0), None)
        if server is not None:
            free[server] -= 1
            continue
        victim = _victim(db, job, servers)
        if victim is not None:
            text = f"asked to give its slot to the job {job.id} of priority {job.priority}"
            write(
                db,
                Attempt(victim.id, victim.attempt),
                values={"preempt_requested_at": func.clock_timestamp()},
                events=[NewEvent("message", {"level": "info", "text": text})],
            )
            asked.append(victim)
    return asked


def _free_slots(db: Session, live_seconds: float) -> dict[str, int]:
    """Slots of live workers, by their queue, that are idle or about to be."""
    kept = (
        select(func.count())
        .where(
            Job.worker_id == Worker.id,
            Job.state == JobState.RUNNING,
            Job.preempt_requested_at.is_(None),
        )
        .correlate(Worker)
        .scalar_subquery()
    )
    rows = db.execute(
        select(Worker.queue, func.sum(Worker.slots - kept))
        .where(is_live(live_seconds))
        .group_by(Worker.queue)
    )
    return {queue: int(free) for queue, free in rows}


def _victim(db: Session, job: Job, servers: list[str]) -> Job | None:
    return db.scalar(
        select(Job)
        .join(Worker, Worker.id == Job.worker_id)
        .where(
            Job.state == JobState.RUNNING,
            Job.priority < job.priority,
            Job.preempt_requested_at.is_(None),
            Worker.queue.in_(servers),
        )
        .order_by(Job.priority, Job.id.desc())
        .limit(1)
        .with_for_update(of=Job, skip_locked=True)
        .execution_options(populate_existing=True)
    )
