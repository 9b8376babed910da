"""Jobs that were submitted to go first may have running ones of lower priority give way."""

import math
from collections import Counter
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from service.db.tables import CLAIMABLE, Job, Worker, Workspace
from service.jobs.quotas import Quota, has_minutes, quota_of
from service.jobs.states import JobState
from service.jobs.transitions import Attempt, NewEvent, write
from service.jobs.workers import SERVES, is_live

LOCK = 0x5972_656C  # one look at a time: two would ask twice for the same slot
MOST_AT_ONCE = 100  # waiting jobs looked at in one call

# Of a running job: it is not about to leave its slot.
_STAYS = (
    Job.state == JobState.RUNNING,
    Job.preempt_requested_at.is_(None),
    Job.pause_requested_at.is_(None),
    Job.cancel_requested_at.is_(None),
)


def make_room(db: Session, *, live_seconds: float, defaults: Quota) -> list[UUID]:
    """Asks running jobs to give their slots up for waiting ones that preempt; returns those asked.

    A waiting job that finds no idle slot takes that of a running job of lower priority: of the
    lowest, and there of the one that was submitted last. It is saved, goes back to the queue and
    resumes from there. Slots that are about to be idle count as idle. A job whose workspace runs
    as many as it may takes the place of another one of its own.

    While another process looks, this does nothing: the reaper looks again within seconds.
    """
    if not db.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": LOCK}):
        return []
    waiting = db.scalars(
        select(Job)
        .where(CLAIMABLE, Job.preempts)
        .order_by(Job.priority.desc(), Job.id)
        .limit(MOST_AT_ONCE)
    ).all()
    idle = _idle_slots(db, live_seconds) if waiting else Counter[str]()
    owners = {job.workspace_id for job in waiting}
    places = {owner: _places(db, owner, defaults) for owner in owners}
    asked = []
    for job in waiting:
        left = places[job.workspace_id]
        if left is None:
            continue
        has_place = left > 0
        servers = [queue for queue, served in SERVES.items() if job.queue in served]
        if has_place:
            places[job.workspace_id] = left - 1
            server = next((queue for queue in servers if idle[queue] > 0), None)
            if server is not None:
                idle[server] -= 1
                continue
        victim = _victim(db, job, servers, live_seconds, own=not has_place)
        if victim is not None:
            words = f"asked to give its slot to the job {job.id} of priority {job.priority}"
            write(
                db,
                Attempt(victim.id, victim.attempt),
                values={"preempt_requested_at": func.clock_timestamp()},
                events=[NewEvent("message", {"level": "info", "text": words})],
            )
            asked.append(victim.id)
    return asked


def _places(db: Session, workspace_id: UUID, defaults: Quota) -> float | None:
    """How many more jobs of a workspace may run once those are gone that are about to go.

    None: none, whatever goes, because its minutes are used up.
    """
    quota = quota_of(db.get_one(Workspace, workspace_id), defaults)
    if not has_minutes(db, workspace_id, quota):
        return None
    if quota.running is None:
        return math.inf
    staying = select(func.count()).where(Job.workspace_id == workspace_id, *_STAYS)
    return quota.running - (db.scalar(staying) or 0)


def _idle_slots(db: Session, live_seconds: float) -> Counter[str]:
    """Slots of live workers, by their queue, that are idle or about to be."""
    staying = (
        select(func.count())
        .where(Job.worker_id == Worker.id, *_STAYS)
        .correlate(Worker)
        .scalar_subquery()
    )
    rows = db.execute(
        select(Worker.queue, func.sum(func.greatest(Worker.slots - staying, 0)))
        .where(is_live(live_seconds))
        .group_by(Worker.queue)
    )
    return Counter({queue: int(idle) for queue, idle in rows})


def _victim(
    db: Session, job: Job, servers: list[str], live_seconds: float, *, own: bool
) -> Job | None:
    """The job to ask, locked; None also where the waiting one was taken in this moment."""
    waits = select(Job.id).where(Job.id == job.id, CLAIMABLE)
    if db.scalar(waits.with_for_update(skip_locked=True)) is None:
        return None
    mine = (Job.workspace_id == job.workspace_id,) if own else ()
    return db.scalar(
        select(Job)
        .join(Worker, Worker.id == Job.worker_id)
        .where(
            *(*_STAYS, *mine),
            Job.priority < job.priority,
            Worker.queue.in_(servers),
            is_live(live_seconds),
        )
        .order_by(Job.priority, Job.id.desc())
        .limit(1)
        .with_for_update(of=Job, skip_locked=True)
        .execution_options(populate_existing=True)
    )
