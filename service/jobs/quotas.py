"""How much of the machine one workspace may have.

The server's settings are the default; a workspace's row may say otherwise, limit by limit.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from service.db.tables import Job, JobAttempt, Workspace
from service.errors import QuotaExceededError
from service.jobs.states import JobState
from service.settings import Settings

DEFAULT = "default"
PERIOD = timedelta(hours=24)


class Quota(NamedTuple):
    """Limits of one workspace; None: no limit."""

    queued: int | None = None
    running: int | None = None
    minutes: int | None = None  # of training within any `PERIOD`


UNLIMITED = Quota()


def default_quota(settings: Settings) -> Quota:
    return Quota(settings.max_queued_jobs, settings.max_running_jobs, settings.max_training_minutes)


def quota_of(workspace: Workspace, defaults: Quota) -> Quota:
    """The workspace's own limits, and the defaults for the others."""
    return defaults._replace(**workspace.quota)


def set_quota(db: Session, workspace: Workspace, changes: Mapping[str, int | str | None]) -> None:
    """Gives a workspace limits of its own, each a number, None for none, or `DEFAULT` for that of
    the settings. Those that are not named stay as they are."""
    db.refresh(workspace, with_for_update={"key_share": True})
    limits = {**workspace.quota, **changes}
    workspace.quota = {name: limit for name, limit in limits.items() if limit != DEFAULT}
    db.flush()


def require_room(db: Session, workspace: Workspace, defaults: Quota) -> None:
    """Raises QuotaExceededError where the workspace may queue no further job.

    The caller holds the lock of its row, so that submissions come one after the other.
    """
    quota = quota_of(workspace, defaults)
    if quota.queued is not None:
        queued = _count(db, workspace.id, JobState.QUEUED)
        if queued >= quota.queued:
            raise QuotaExceededError(
                f"{queued} jobs of this workspace are queued, and {quota.queued} are allowed."
            )
    if quota.minutes is not None:
        used = minutes_used(db, workspace.id)
        if used >= quota.minutes:
            raise QuotaExceededError(
                f"This workspace has trained for {used:.0f} minutes within 24 hours, and "
                f"{quota.minutes} are allowed."
            )


def may_run(db: Session, workspace: Workspace, defaults: Quota) -> bool:
    """Whether the workspace may have one more job running.

    Where their number is limited, the row of the workspace is locked: claims of one workspace come
    one after the other, so that they do not pass the limit together.
    """
    quota = quota_of(workspace, defaults)
    if quota.running is not None:
        locked = select(Workspace.id).where(Workspace.id == workspace.id)
        db.execute(locked.with_for_update(key_share=True))
        if _count(db, workspace.id, JobState.RUNNING) >= quota.running:
            return False
    return has_minutes(db, workspace.id, quota)


def has_minutes(db: Session, workspace_id: UUID, quota: Quota) -> bool:
    """Whether the workspace has trained for less than it may."""
    return quota.minutes is None or minutes_used(db, workspace_id) < quota.minutes


def minutes_used(db: Session, workspace_id: UUID) -> float:
    """Minutes of all attempts within the last `PERIOD`, those that run now among them."""
    now, since = func.clock_timestamp(), func.clock_timestamp() - PERIOD
    ended = func.coalesce(JobAttempt.ended_at, now)
    seconds = db.scalar(
        select(func.sum(func.extract("epoch", ended - func.greatest(JobAttempt.started_at, since))))
        .join(Job, Job.id == JobAttempt.job_id)
        .where(
            Job.workspace_id == workspace_id,
            or_(JobAttempt.ended_at.is_(None), JobAttempt.ended_at > since),
        )
    )
    return float(seconds or 0) / 60


def _count(db: Session, workspace_id: UUID, state: JobState) -> int:
    counted = select(func.count()).where(Job.workspace_id == workspace_id, Job.state == state)
    return db.scalar(counted) or 0
