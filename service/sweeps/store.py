"""Sweeps and their trials: the rows."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Float,
    Integer,
    and_,
    case,
    cast,
    false,
    func,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from service.db.clock import now
from service.db.paging import PageRequest, read_page
from service.db.tables import UNFINISHED_TRIAL, Job, JobEvent, ModelVersion, Sweep, Workspace
from service.errors import ConflictError, NotFoundError, QuotaExceededError
from service.jobs.states import TERMINAL, JobState

PRUNED = "pruned"  # the type of the error of a trial that was cancelled as one of the worse
RUNNING, SUCCEEDED, FAILED, CANCELLED = "running", "succeeded", "failed", "cancelled"


class SweepRow(NamedTuple):
    """A sweep with what other rows say of it."""

    sweep: Sweep
    trials: dict[str, int]  # by state, those that were pruned apart
    best: Job | None  # of the trials that succeeded
    version: int | None  # of the model, once the best one is published


class Reported(NamedTuple):
    """One evaluation of a trial."""

    seq: int
    epoch: float
    value: float | None  # of the sweep's metric


def submit(db: Session, sweep: Sweep, *, max_running: int) -> None:
    """Adds a sweep; raises QuotaExceededError where its workspace has as many as it may."""
    # Those of one workspace come one after the other.
    locked = select(Workspace.id).where(Workspace.id == sweep.workspace_id)
    db.execute(locked.with_for_update(key_share=True))
    running = db.scalar(
        select(func.count()).where(Sweep.workspace_id == sweep.workspace_id, Sweep.state == RUNNING)
    )
    if (running or 0) >= max_running:
        raise QuotaExceededError(
            f"{running} sweeps of this workspace are running, and {max_running} are allowed."
        )
    db.add(sweep)
    db.flush()


def get(db: Session, workspace_id: UUID, sweep_id: UUID) -> SweepRow:
    return _rows(db, [find(db, workspace_id, sweep_id)])[0]


def find(db: Session, workspace_id: UUID, sweep_id: UUID, *, for_update: bool = False) -> Sweep:
    """Raises NotFoundError for one that is not in this workspace."""
    query = select(Sweep).where(Sweep.workspace_id == workspace_id, Sweep.id == sweep_id)
    if for_update:
        query = query.with_for_update().execution_options(populate_existing=True)
    sweep = db.scalar(query)
    if sweep is None:
        raise NotFoundError(f"There is no sweep {sweep_id} here.")
    return sweep


def list_sweeps(
    db: Session, workspace_id: UUID, page: PageRequest
) -> tuple[Sequence[SweepRow], bool]:
    """The page, newest first, and whether there are older ones."""
    sweeps, has_more = read_page(db, Sweep, Sweep.workspace_id == workspace_id, page)
    return _rows(db, sweeps), has_more


def list_trials(db: Session, sweep: Sweep, page: PageRequest) -> tuple[Sequence[Job], bool]:
    """The page, newest first, and whether there are older ones."""
    return read_page(db, Job, Job.sweep_id == sweep.id, page)


def cancel(db: Session, workspace_id: UUID, sweep_id: UUID) -> SweepRow:
    """Ends a sweep; nothing of it is published from now on. Its trials are cancelled soon after.

    Asking again changes nothing. Raises ConflictError where it has ended otherwise.
    """
    sweep = find(db, workspace_id, sweep_id, for_update=True)
    if sweep.state == RUNNING:
        end(db, sweep, CANCELLED)
    elif sweep.state != CANCELLED:
        raise ConflictError(f"The sweep {sweep.id} is {sweep.state}: there is nothing to cancel.")
    return get(db, workspace_id, sweep_id)


def end(db: Session, sweep: Sweep, state: str, error: dict[str, Any] | None = None) -> None:
    """The caller holds the lock of the row."""
    sweep.state = state
    sweep.error = error or sweep.error
    sweep.finished_at = now(db)
    db.flush()


# What the controller asks


def running(db: Session) -> Sequence[UUID]:
    return db.scalars(select(Sweep.id).where(Sweep.state == RUNNING).order_by(Sweep.id)).all()


def take(db: Session, sweep_id: UUID) -> Sweep | None:
    """The running sweep, locked; None where it has ended or somebody else is at it."""
    return db.scalar(
        select(Sweep)
        .where(Sweep.id == sweep_id, Sweep.state == RUNNING)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )


def is_late(db: Session, sweep: Sweep) -> bool:
    """Whether the time is over in which trials are begun."""
    return bool(db.scalar(select(_late()).where(Sweep.id == sweep.id)))


def count_trials(db: Session, sweep_id: UUID) -> tuple[int, int]:
    """All trials, and those that have not ended."""
    row = db.execute(
        select(func.count(), func.count().filter(Job.state.not_in(TERMINAL))).where(
            Job.sweep_id == sweep_id
        )
    ).one()
    return row[0], row[1]


def untold(db: Session, sweep_id: UUID) -> Sequence[Job]:
    """The trials of which there is news, in their order: an evaluation, or the end."""
    ended = and_(Job.state.in_(TERMINAL), Job.told_seq < Job.last_event_seq)
    reported = (
        select(JobEvent.seq)
        .where(JobEvent.job_id == Job.id, JobEvent.seq > Job.told_seq, _is_evaluation())
        .exists()
    )
    return db.scalars(
        select(Job)
        .where(Job.sweep_id == sweep_id, or_(ended, and_(Job.state == JobState.RUNNING, reported)))
        .order_by(Job.trial)
    ).all()


def reports(db: Session, job: Job, metric: str) -> list[Reported]:
    """The evaluations of a trial that were not told yet, in order."""
    value = JobEvent.data["metrics"].op("->>")(metric)
    rows = db.execute(
        select(JobEvent.seq, cast(JobEvent.data.op("->>")("epoch"), Float), cast(value, Float))
        .where(JobEvent.job_id == job.id, JobEvent.seq > job.told_seq, _is_evaluation())
        .order_by(JobEvent.seq)
    )
    return [Reported(*row) for row in rows]


def evaluations_per_epoch(db: Session, sweep_id: UUID) -> int:
    """Of the first trial: one measure for all, also where a sweep changes it."""
    config = select(Job.config).where(Job.sweep_id == sweep_id, Job.trial == 0)
    return int(db.execute(config).scalar_one()["training"]["evaluations_per_epoch"])


def told(db: Session, job: Job, seq: int) -> None:
    """Remembers that the study has heard of everything up to this event."""
    db.execute(
        update(Job)
        .where(Job.id == job.id)
        .values(told_seq=seq)
        .execution_options(synchronize_session=False)
    )


def best(db: Session, sweep: Sweep) -> Job | None:
    """The trial that succeeded with the best metric; the earlier one of two that are equal."""
    return db.scalar(
        select(Job)
        .join(Sweep, Sweep.id == Job.sweep_id)
        .where(Job.sweep_id == sweep.id, *_is_candidate())
        .order_by(_score(), Job.trial)
        .limit(1)
    )


def last_ended(db: Session, sweep: Sweep) -> Job | None:
    """The last trial that was trained to its end, or else the last one that failed."""
    return db.scalar(
        select(Job)
        .where(Job.sweep_id == sweep.id, Job.state.in_([JobState.SUCCEEDED, JobState.FAILED]))
        .order_by((Job.state == JobState.SUCCEEDED).desc(), Job.trial.desc())
        .limit(1)
    )


def unwanted(db: Session) -> Job | None:
    """A trial to cancel: its sweep has ended, or it was not begun in time."""
    over = or_(Sweep.state != RUNNING, and_(Job.attempt == 0, _late()))
    return db.scalar(
        select(Job)
        .where(
            UNFINISHED_TRIAL,
            Job.cancel_requested_at.is_(None),
            select(Sweep.id).where(Sweep.id == Job.sweep_id, over).exists(),
        )
        .order_by(Job.id)
        .limit(1)
    )


def superseded(db: Session, *, limit: int) -> dict[UUID, str]:
    """Trials that keep a network which will not be published, with its path."""
    place = func.row_number().over(
        partition_by=Job.sweep_id, order_by=(_score().nulls_last(), Job.trial)
    )
    kept = (
        select(Job.id, Job.trained, Sweep.state, place.label("place"))
        .join(Sweep, Sweep.id == Job.sweep_id)
        .where(Job.trained.is_not(None))
        .subquery()
    )
    rows = db.execute(
        select(kept.c.id, kept.c.trained)
        .where(or_(kept.c.state != RUNNING, kept.c.place > 1))
        .order_by(kept.c.id)
        .limit(limit)
    )
    return {job_id: trained["path"] for job_id, trained in rows}


def forget_networks(db: Session, job_ids: Sequence[UUID]) -> None:
    """The rows name no network after this: it is published, or its folder is gone."""
    db.execute(
        update(Job)
        .where(Job.id.in_(job_ids))
        .values(trained=null())
        .execution_options(synchronize_session=False)
    )


def _rows(db: Session, sweeps: Sequence[Sweep]) -> list[SweepRow]:
    ids = [sweep.id for sweep in sweeps]
    counts: dict[UUID, dict[str, int]] = {sweep_id: {} for sweep_id in ids}
    state = case((_was_pruned(), PRUNED), else_=Job.state)
    for sweep_id, name, count in db.execute(
        select(Job.sweep_id, state, func.count())
        .where(Job.sweep_id.in_(ids))
        .group_by(Job.sweep_id, state)
    ):
        counts[sweep_id][name] = count
    leaders = db.scalars(
        select(Job)
        .join(Sweep, Sweep.id == Job.sweep_id)
        .where(Job.sweep_id.in_(ids), *_is_candidate())
        .order_by(Job.sweep_id, _score(), Job.trial)
        .ext(distinct_on(Job.sweep_id))
    ).all()
    found = {job.sweep_id: job for job in leaders}
    versions = dict(
        db.execute(
            select(Job.sweep_id, ModelVersion.version)
            .join(ModelVersion, ModelVersion.job_id == Job.id)
            .where(Job.sweep_id.in_(ids))
        ).all()
    )
    return [
        SweepRow(sweep, counts[sweep.id], found.get(sweep.id), versions.get(sweep.id))
        for sweep in sweeps
    ]


def was_pruned(job: Job) -> bool:
    return job.state == JobState.CANCELLED and (job.error or {}).get("type") == PRUNED


def _was_pruned() -> ColumnElement[bool]:
    return and_(Job.state == JobState.CANCELLED, Job.error.op("->>")("type") == PRUNED)


def _is_evaluation() -> ColumnElement[bool]:
    return and_(JobEvent.type == "metrics", JobEvent.data.op("->>")("kind") == "evaluation")


def _value() -> ColumnElement[float]:
    """Of a trial's row joined with its sweep's."""
    return cast(Job.metrics.op("->>")(Sweep.metric), Float)


def _score() -> ColumnElement[float]:
    """The lower, the better."""
    return case((Sweep.direction == "maximize", -_value()), else_=_value())


def _is_candidate() -> tuple[ColumnElement[bool], ...]:
    return Job.state == JobState.SUCCEEDED, _value().is_not(None)


def _late() -> ColumnElement[bool]:
    minutes = func.make_interval(0, 0, 0, 0, 0, cast(Sweep.max_minutes, Integer))
    return func.coalesce(func.clock_timestamp() > Sweep.created_at + minutes, false())
