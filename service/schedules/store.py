"""Schedules: who has which, and when each is due, by the database's clock."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.db.clock import now
from service.db.paging import PageRequest, read_page
from service.db.tables import Job, Schedule, Workspace
from service.errors import ConflictError, NotFoundError, QuotaExceededError
from service.jobs.states import TERMINAL
from service.schedules.times import next_time


def create(
    db: Session,
    workspace_id: UUID,
    key_id: UUID | None,
    *,
    name: str,
    cron: str,
    timezone: str,
    job: dict[str, Any],
    enabled: bool,
    most: int,
) -> Schedule:
    """Raises ConflictError where the name is taken, QuotaExceededError beyond `most` of them."""
    # One after the other, so that both hold.
    db.execute(
        select(Workspace.id).where(Workspace.id == workspace_id).with_for_update(key_share=True)
    )
    names = db.scalars(select(Schedule.name).where(Schedule.workspace_id == workspace_id)).all()
    if name in names:
        raise ConflictError(f"There is a schedule {name!r} already.")
    if len(names) >= most:
        raise QuotaExceededError(f"This workspace has {len(names)} schedules, and may have {most}.")
    schedule = Schedule(
        workspace_id=workspace_id,
        created_by=key_id,
        name=name,
        cron=cron,
        timezone=timezone,
        job=job,
        next_run_at=next_time(cron, timezone, now(db)) if enabled else None,
    )
    db.add(schedule)
    db.flush()
    return schedule


def get(
    db: Session, workspace_id: UUID, schedule_id: UUID, *, for_update: bool = False
) -> Schedule:
    """Raises NotFoundError for one of another workspace."""
    query = select(Schedule).where(
        Schedule.workspace_id == workspace_id, Schedule.id == schedule_id
    )
    if for_update:
        query = query.with_for_update().execution_options(populate_existing=True)
    schedule = db.scalar(query)
    if schedule is None:
        raise NotFoundError(f"There is no schedule {schedule_id} here.")
    return schedule


def list_schedules(
    db: Session, workspace_id: UUID, page: PageRequest
) -> tuple[Sequence[Schedule], bool]:
    """Newest first; and whether there are older ones."""
    return read_page(db, Schedule, Schedule.workspace_id == workspace_id, page)


def change(
    db: Session,
    schedule: Schedule,
    *,
    cron: str | None = None,
    timezone: str | None = None,
    job: dict[str, Any] | None = None,
    enabled: bool | None = None,
) -> None:
    """Changes what is given. Times that passed while it was not enabled are not made up for."""
    was_enabled = schedule.next_run_at is not None
    enabled = was_enabled if enabled is None else enabled
    moved = cron not in (None, schedule.cron) or timezone not in (None, schedule.timezone)
    schedule.cron = cron or schedule.cron
    schedule.timezone = timezone or schedule.timezone
    schedule.job = job or schedule.job
    if not enabled:
        schedule.next_run_at = None
    elif moved or not was_enabled:
        schedule.next_run_at = next_time(schedule.cron, schedule.timezone, now(db))
    db.flush()


def delete(db: Session, workspace_id: UUID, schedule_id: UUID) -> None:
    """Its jobs stay."""
    db.delete(get(db, workspace_id, schedule_id))


def due(db: Session, *, limit: int) -> Sequence[Schedule]:
    """Schedules whose time has come, the longest waiting first."""
    return db.scalars(
        select(Schedule)
        .where(Schedule.next_run_at <= func.clock_timestamp())
        .order_by(Schedule.next_run_at)
        .limit(limit)
    ).all()


def take(db: Session, seen: Schedule) -> Schedule | None:
    """The row of a schedule that was found due, locked until the transaction ends; None where
    somebody else has it, had its time run, or changed it meanwhile."""
    schedule = db.scalar(
        select(Schedule)
        .where(Schedule.id == seen.id, Schedule.next_run_at == seen.next_run_at)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    return schedule if schedule is not None and schedule.job == seen.job else None


def unfinished_job(db: Session, schedule: Schedule) -> Job | None:
    """The last job of a schedule, if it has not ended yet."""
    if schedule.last_job_id is None:
        return None
    return db.scalar(select(Job).where(Job.id == schedule.last_job_id, Job.state.not_in(TERMINAL)))
