"""Alarms about jobs and processes, read from rows at the moment of asking.

They are about the whole machine, so they name workers and counts, and nothing of a workspace.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from service.alarms.kinds import Alarm, AlarmKind
from service.db.tables import CLAIMABLE, Heartbeat, Job, JobAttempt, Worker, Workspace
from service.heartbeats import REAPER
from service.jobs.quotas import Quota, default_quota, has_minutes, quota_of
from service.jobs.states import JobState
from service.jobs.workers import SERVES, is_live
from service.settings import Settings

LOST_SECONDS = 3600.0  # so long a lost worker is an alarm; then it is history
OVERDUE_SECONDS = 20.0  # the reaper looks every few seconds
SILENT_SECONDS = 20.0
SILENT_TICKS = 3  # where the reaper is set to look less often
MOST_NAMED = 3


class Waiting(NamedTuple):
    """Jobs that could have been claimed for a while."""

    workspace: Workspace
    queue: str
    jobs: int
    since: datetime


def machine_alarms(db: Session, settings: Settings) -> list[Alarm]:
    """All that is wrong now, by kind."""
    idle, live = _idle_slots(db, settings), _live_queues(db, settings)
    # Not those whose workers are there and busy: their queue may be long.
    queues = [
        queue
        for queue in SERVES
        if live.isdisjoint(_servers(queue)) or any(idle.get(each) for each in _servers(queue))
    ]
    waiting = _waiting(db, queues, settings.alarm_after_seconds)
    return [
        *_idle_while_jobs_wait(db, settings, waiting, idle),
        *_unserved(waiting, live),
        *_lost_workers(db, settings),
        *_overdue_leases(db),
        *_silent_reaper(db, settings),
    ]


def _waiting(db: Session, queues: Sequence[str], seconds: float) -> list[Waiting]:
    rows = db.execute(
        select(Workspace, Job.queue, func.count(), func.min(Job.queued_at))
        .join(Workspace, Workspace.id == Job.workspace_id)
        .where(CLAIMABLE, Job.queue.in_(queues), Job.queued_at < _ago(seconds))
        .group_by(Workspace.id, Job.queue)
    )
    return [Waiting(*row) for row in rows]


def _idle_while_jobs_wait(
    db: Session, settings: Settings, waiting: Sequence[Waiting], idle: Mapping[str, int]
) -> Iterator[Alarm]:
    defaults = default_quota(settings)
    waiting = [each for each in waiting if _within_quota(db, each.workspace, defaults)]
    for queue in sorted({each.queue for each in waiting}):
        slots = sum(idle.get(server, 0) for server in _servers(queue))
        if slots:
            count, since = _together(waiting, queue)
            yield Alarm(
                AlarmKind.JOBS_WAIT_WHILE_SLOTS_IDLE,
                since=since,
                count=count,
                message=f"{_many(count, 'job')} of the queue {queue} could run, and "
                f"{_many(slots, 'slot')} of live workers did nothing for "
                f"{settings.alarm_after_seconds:g} s.",
                remedy="Look at the logs of these workers: their trainers may not start, or they "
                "cannot reach Redis. Workers that are started again claim at once.",
            )


def _within_quota(db: Session, workspace: Workspace, defaults: Quota) -> bool:
    """Whether the workspace may have one more job running: the others wait for themselves."""
    quota = quota_of(workspace, defaults)
    running = select(func.count()).where(
        Job.workspace_id == workspace.id, Job.state == JobState.RUNNING
    )
    if quota.running is not None and (db.scalar(running) or 0) >= quota.running:
        return False
    return has_minutes(db, workspace.id, quota)


def _idle_slots(db: Session, settings: Settings) -> dict[str, int]:
    """Slots of live workers, by the workers' queue, that have had no job for a while.

    One whose attempt has ended lately counts as busy: its next trainer is being started.
    """
    since = _ago(settings.alarm_after_seconds)
    running = (
        select(func.count())
        .where(Job.worker_id == Worker.id, Job.state == JobState.RUNNING)
        .correlate(Worker)
        .scalar_subquery()
    )
    ended = (
        select(func.count())
        .where(JobAttempt.ended_at > since, JobAttempt.worker_id == Worker.id)
        .correlate(Worker)
        .scalar_subquery()
    )
    rows = db.execute(
        select(Worker.queue, func.sum(func.greatest(Worker.slots - running - ended, 0)))
        .where(is_live(settings.lease_seconds), Worker.started_at < since)
        .group_by(Worker.queue)
    )
    return {queue: int(slots) for queue, slots in rows}


def _live_queues(db: Session, settings: Settings) -> set[str]:
    """Of live workers."""
    return set(db.scalars(select(Worker.queue).where(is_live(settings.lease_seconds)).distinct()))


def _unserved(waiting: Sequence[Waiting], live: Collection[str]) -> Iterator[Alarm]:
    for queue in sorted({each.queue for each in waiting}):
        if not any(server in live for server in _servers(queue)):
            count, since = _together(waiting, queue)
            yield Alarm(
                AlarmKind.NO_WORKER,
                since=since,
                count=count,
                message=f"{_many(count, 'job')} of the queue {queue} could run, and no live worker "
                "serves it.",
                remedy="Start a worker that has the device, or have the jobs cancelled and "
                "submitted for another one.",
            )


def _lost_workers(db: Session, settings: Settings) -> Iterator[Alarm]:
    lost = db.scalars(
        select(Worker)
        .where(
            Worker.stopped_at.is_(None),
            Worker.seen_at <= _ago(settings.lease_seconds),
            Worker.seen_at > _ago(LOST_SECONDS),
        )
        .order_by(Worker.seen_at)
    ).all()
    if lost:
        named = [f"{worker.hostname} (process {worker.pid})" for worker in lost[:MOST_NAMED]]
        further = f" and {len(lost) - MOST_NAMED} more" if len(lost) > MOST_NAMED else ""
        yield Alarm(
            AlarmKind.WORKER_LOST,
            since=lost[0].seen_at,
            count=len(lost),
            message=f"{_many(len(lost), 'worker')} went silent without a word within the last "
            f"hour: {', '.join(named)}{further}.",
            remedy="See whether the process was killed, for want of memory for one, and whether "
            "its machine reaches PostgreSQL. Its jobs run elsewhere.",
        )


def _overdue_leases(db: Session) -> Iterator[Alarm]:
    overdue = Job.lease_expires_at < _ago(OVERDUE_SECONDS)
    count, since = db.execute(
        select(func.count(), func.min(Job.lease_expires_at)).where(
            Job.state == JobState.RUNNING, overdue
        )
    ).one()
    if since is not None:
        yield Alarm(
            AlarmKind.LEASE_OVERDUE,
            since=since,
            count=count,
            message=f"{_many(count, 'job')} counted as running over {OVERDUE_SECONDS:g} s after "
            "the end of the lease: the worker is gone, and nobody gave the job to another one.",
            remedy="Start the reaper, or look at its log.",
        )


def _silent_reaper(db: Session, settings: Settings) -> Iterator[Alarm]:
    seconds = max(SILENT_SECONDS, SILENT_TICKS * settings.reaper_interval_seconds)
    seen_at = db.scalar(
        select(Heartbeat.seen_at).where(Heartbeat.name == REAPER, Heartbeat.seen_at < _ago(seconds))
    )
    if seen_at is not None:
        yield Alarm(
            AlarmKind.REAPER_SILENT,
            since=seen_at,
            count=1,
            message=f"No reaper has done its round for {seconds:g} s: jobs of dead workers are not "
            "given to others, and schedules do not run.",
            remedy="Start the reaper, or look at its log.",
        )


def _servers(queue: str) -> list[str]:
    """The queues of the workers that claim from this one."""
    return [server for server, served in SERVES.items() if queue in served]


def _together(waiting: Sequence[Waiting], queue: str) -> tuple[int, datetime]:
    found = [each for each in waiting if each.queue == queue]
    return sum(each.jobs for each in found), min(each.since for each in found)


def _ago(seconds: float) -> ColumnElement[datetime]:
    return func.clock_timestamp() - timedelta(seconds=seconds)


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
