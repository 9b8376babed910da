"""Jobs as the API sees them: submitted, read, cancelled, paused, retried."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypedDict, cast
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.datasets.store import get_dataset
from service.db.paging import PageRequest, read_page
from service.db.tables import CLAIMABLE, Job, JobDependency, JobEvent, ModelVersion, Workspace
from service.errors import ConflictError, Fault, NotFoundError, ValidationError
from service.jobs import quotas
from service.jobs.kinds import JobKind
from service.jobs.quotas import Quota
from service.jobs.states import RETRIABLE, TERMINAL, JobState
from service.jobs.transitions import (
    Attempt,
    NewEvent,
    append,
    dependency_states,
    move,
    write,
)
from service.registry.bases import BaseRecord, is_there
from service.registry.store import require_task


class Trial(NamedTuple):
    """Of which sweep a job is a trial, and which."""

    sweep_id: UUID
    number: int  # from 0


MOST_PLACES = 1_000  # that are counted


class JobRow(NamedTuple):
    """A job with what other rows say of it."""

    job: Job
    version: int | None  # of its model, once it succeeded
    after: list[UUID]  # what it waits for, or waited for
    queue_position: int | None  # 1 is next, by priority and age; None beyond `MOST_PLACES`


def submit(
    db: Session,
    *,
    workspace_id: UUID,
    created_by: UUID | None,
    dataset_id: UUID,
    model_name: str,
    config: dict[str, Any],
    base: BaseRecord | None = None,
    kind: JobKind = JobKind.TRAINING,
    device: str,
    queue: str,
    priority: int,
    labels: dict[str, str],
    after: Sequence[UUID] = (),
    preempts: bool = False,
    deadline: datetime | None = None,
    trial: Trial | None = None,
    defaults: Quota,
) -> Job:
    """Queues a job whose `config` is resolved.

    Args:
        after: jobs that have to succeed before.
        preempts: it may have running jobs of lower priority give their slots up.
        defaults: limits of workspaces that have none of their own.

    Raises QuotaExceededError, ModelTaskMismatchError where the model's name is taken for another
    task, and ValidationError for a deadline that has passed and a job in `after` that is not there
    or did not succeed. Submissions of one workspace come one after the other, so that all of it
    holds.
    """
    workspace = _lock_workspace(db, workspace_id)
    quotas.require_room(db, workspace, defaults)
    require_task(db, workspace_id, model_name, config["task"])
    _require_future(db, deadline)
    blocked = blocked_by(db, workspace_id, after)
    job = Job(
        workspace_id=workspace_id,
        created_by=created_by,
        task=config["task"],
        kind=kind,
        dataset_id=dataset_id,
        model_name=model_name,
        config=config,
        base=base,
        device=device,
        queue=queue,
        priority=priority,
        labels=dict(labels),
        blocked=blocked,
        preempts=preempts,
        deadline=deadline,
        last_event_seq=1,
    )
    if trial is not None:
        job.sweep_id, job.trial, job.told_seq = trial.sweep_id, trial.number, 0
    db.add(job)
    db.flush()
    db.add_all(JobDependency(job_id=job.id, after_id=after_id) for after_id in after)
    db.flush()
    data = {"from": None, "to": JobState.QUEUED, "reason": "submitted"}
    append(db, job.id, 0, 1, [NewEvent("state", data)])
    return job


def get(db: Session, workspace_id: UUID, job_id: UUID) -> JobRow:
    return _rows(db, [find(db, workspace_id, job_id)])[0]


def find(db: Session, workspace_id: UUID, job_id: UUID) -> Job:
    """The job's own row; a job of another workspace is not found."""
    job = db.scalar(select(Job).where(Job.workspace_id == workspace_id, Job.id == job_id))
    if job is None:
        raise NotFoundError(f"There is no job {job_id} here.")
    return job


def list_jobs(
    db: Session,
    workspace_id: UUID,
    page: PageRequest,
    *,
    state: JobState | None,
    task: str | None,
    kind: JobKind = JobKind.TRAINING,
    sweep_id: UUID | None = None,
    dataset_id: UUID | None = None,
) -> tuple[Sequence[JobRow], bool]:
    """The page, newest first, and whether there are older jobs of the kind."""
    conditions = [Job.kind == kind]
    if state is not None:
        conditions.append(Job.state == state)
    if task is not None:
        conditions.append(Job.task == task)
    if sweep_id is not None:
        conditions.append(Job.sweep_id == sweep_id)
    if dataset_id is not None:
        conditions.append(Job.dataset_id == dataset_id)
    jobs, has_more = read_page(db, Job, Job.workspace_id == workspace_id, page, *conditions)
    return _rows(db, jobs), has_more


def events_after(
    db: Session, job_id: UUID, after: int, *, limit: int, type_: str | None = None
) -> Sequence[JobEvent]:
    """In order. The caller has seen that the job is in his workspace."""
    query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.seq > after)
    if type_ is not None:
        query = query.where(JobEvent.type == type_)
    return db.scalars(query.order_by(JobEvent.seq).limit(limit)).all()


def events_to_end(
    db: Session, job_id: UUID, after: int, *, limit: int
) -> tuple[Sequence[JobEvent], bool]:
    """As `events_after`, and whether the job has ended and none of its events is left.

    Somebody may have it tried again all the same; further events are further down then.
    """
    events = events_after(db, job_id, after, limit=limit)
    seen = events[-1].seq if events else after
    row = db.execute(select(Job.state, Job.last_event_seq).where(Job.id == job_id)).one()
    return events, row.state in TERMINAL and seen >= row.last_event_seq


def request_cancel(
    db: Session, workspace_id: UUID, job_id: UUID, *, error: dict[str, Any] | None = None
) -> JobRow:
    """Cancels a queued job at once and asks the worker of a running one to stop it.

    Asking again changes nothing. Raises ConflictError where the job has ended otherwise.

    Args:
        error: why, with `type` and `detail`, where nobody asked for it; the job keeps it.
    """
    job = _locked(db, workspace_id, job_id)
    attempt = Attempt(job.id, job.attempt)
    asked: dict[str, Any] = {"cancel_requested_at": func.clock_timestamp()}
    said = "cancel requested"
    if error is not None:
        asked["error"], said = error, error["type"]
    if job.state == JobState.QUEUED:
        move(db, attempt, JobState.QUEUED, JobState.CANCELLED, "cancelled", values=asked)
    elif job.state == JobState.RUNNING:
        if job.cancel_requested_at is None:
            write(db, attempt, values=asked, events=[_said(said)])
    elif job.state != JobState.CANCELLED:
        raise ConflictError(f"The job {job.id} is {job.state}: there is nothing to cancel.")
    return _reread(db, job)


def pause(db: Session, workspace_id: UUID, job_id: UUID) -> JobRow:
    """Holds a queued job, and asks the worker of a running one to save it and give it back.

    Asking again changes nothing. Raises ConflictError where the job has ended or is about to.
    """
    job = _locked(db, workspace_id, job_id)
    attempt, state = Attempt(job.id, job.attempt), JobState(job.state)
    if state in TERMINAL or job.cancel_requested_at is not None:
        raise ConflictError(f"The job {job.id} is {_being(job)}: there is nothing to pause.")
    if state is JobState.QUEUED and job.paused_at is None:
        values = {"paused_at": func.clock_timestamp()}
        write(db, attempt, state=state, values=values, events=[_said("paused")])
    elif state is JobState.RUNNING and job.pause_requested_at is None:
        values = {"pause_requested_at": func.clock_timestamp()}
        write(db, attempt, values=values, events=[_said("pause requested")])
    return _reread(db, job)


def resume(db: Session, workspace_id: UUID, job_id: UUID) -> JobRow:
    """Lets a paused job go on, from its checkpoint where it has one; takes a pause back that was
    asked for and did not come about yet.

    Asking again changes nothing. Raises ConflictError where the job has ended.
    """
    job = _locked(db, workspace_id, job_id)
    attempt, state = Attempt(job.id, job.attempt), JobState(job.state)
    if state in TERMINAL:
        raise ConflictError(f"The job {job.id} is {state}: there is nothing to resume.")
    if job.paused_at is not None or job.pause_requested_at is not None:
        values: dict[str, Any] = {"paused_at": None, "pause_requested_at": None}
        if state is JobState.QUEUED:
            values["queued_at"] = func.clock_timestamp()
        write(db, attempt, state=state, values=values, events=[_said("resumed")])
    return _reread(db, job)


class RetryChanges(TypedDict, total=False):
    """What of a job a retry may change."""

    deadline: datetime | None


def retry(
    db: Session, workspace_id: UUID, job_id: UUID, changes: RetryChanges, *, defaults: Quota
) -> JobRow:
    """Queues a job again that failed or was cancelled; a failed one goes on from its checkpoint.

    Raises ConflictError where it has not ended, has succeeded, waits for a job that did not
    succeed, lost its data set or its base, or was to end before a time that has passed;
    ValidationError where the new deadline has passed; ModelTaskMismatchError where its model's name
    was taken for another task since; QuotaExceededError.
    """
    workspace = _lock_workspace(db, workspace_id)
    others = dependency_states(db, job_id, keep=True)  # before the row of the job: it is newer
    job = _locked(db, workspace_id, job_id)
    state = JobState(job.state)
    if state not in RETRIABLE:
        raise ConflictError(f"The job {job.id} is {state}: there is nothing to retry.")
    if job.sweep_id is not None:
        raise ConflictError(f"The job {job.id} is a trial: its sweep decides what is trained.")
    for other, its_state in others.items():
        if its_state in RETRIABLE:
            raise ConflictError(f"The job {job.id} waits for {other}, which is {its_state}.")
    _require_inputs(db, job)
    if "deadline" in changes:
        _require_future(db, changes["deadline"])
    elif _has_passed(db, job.deadline):
        raise ConflictError(f"The deadline of the job {job.id} has passed: give it another one.")
    require_task(db, workspace_id, job.model_name, job.task)
    quotas.require_room(db, workspace, defaults)
    values: dict[str, Any] = {
        "error": None,
        "finished_at": None,
        "cancel_requested_at": None,
        "paused_at": None,
        "blocked": any(each != JobState.SUCCEEDED for each in others.values()),
        "crashes_without_progress": 0,
        **changes,
    }
    if job.checkpoint is None:
        values |= {"progress": {}, "metrics": {}}
    move(db, Attempt(job.id, job.attempt), state, JobState.QUEUED, "retried", values=values)
    return _reread(db, job)


def _require_inputs(db: Session, job: Job) -> None:
    """Raises ConflictError where what the job is trained on was deleted."""
    try:
        get_dataset(db, job.workspace_id, job.dataset_id, keep=True)
    except NotFoundError as error:
        raise ConflictError(f"The data set of the job {job.id} was deleted.") from error
    base = cast(BaseRecord | None, job.base)
    if base is not None and not is_there(db, job.workspace_id, base):
        raise ConflictError(
            f"The model {base['name']}:{base['version']}, which the job {job.id} needs, was"
            " deleted."
        )


def _require_future(db: Session, deadline: datetime | None) -> None:
    if _has_passed(db, deadline):
        fault = Fault(("body", "deadline"), "has passed")
        raise ValidationError("The job could not end before its deadline.", faults=[fault])


def _has_passed(db: Session, moment: datetime | None) -> bool:
    """By the database's clock."""
    return moment is not None and bool(db.scalar(select(func.clock_timestamp() >= moment)))


def _lock_workspace(db: Session, workspace_id: UUID) -> Workspace:
    """Its row as it is now, locked: submissions of a workspace come one after the other."""
    return db.scalars(
        select(Workspace)
        .where(Workspace.id == workspace_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one()


def _locked(db: Session, workspace_id: UUID, job_id: UUID) -> Job:
    job = db.scalar(
        select(Job)
        .where(Job.workspace_id == workspace_id, Job.id == job_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if job is None:
        raise NotFoundError(f"There is no job {job_id} here.")
    return job


def _reread(db: Session, job: Job) -> JobRow:
    db.expire(job)
    return get(db, job.workspace_id, job.id)


def _being(job: Job) -> str:
    return job.state if job.state in TERMINAL else "being cancelled"


def _said(text: str) -> NewEvent:
    return NewEvent("message", {"level": "info", "text": text})


def blocked_by(db: Session, workspace_id: UUID, after: Sequence[UUID]) -> bool:
    """Whether a job that comes after these has to wait. Their rows are locked: none ends between
    this look and the commit."""
    if not after:
        return False
    others = db.scalars(
        select(Job)
        .where(Job.workspace_id == workspace_id, Job.id.in_(after))
        .order_by(Job.id)
        .with_for_update(read=True)
        .execution_options(populate_existing=True)
    ).all()
    faults = []
    states = {job.id: job.state for job in others}
    for index, job_id in enumerate(after):
        place, state = ("body", "after", index), states.get(job_id)
        if state is None:
            faults.append(Fault(place, f"there is no job {job_id} here"))
        elif state in RETRIABLE:
            faults.append(Fault(place, f"the job {job_id} is {state}"))
    if faults:
        raise ValidationError("The job cannot wait for these.", faults=faults)
    return any(state != JobState.SUCCEEDED for state in states.values())


def _rows(db: Session, jobs: Sequence[Job]) -> list[JobRow]:
    """The jobs with what other rows say of them."""
    ids = [job.id for job in jobs]
    versions = dict(
        db.execute(
            select(ModelVersion.job_id, ModelVersion.version).where(ModelVersion.job_id.in_(ids))
        ).all()
    )
    after: dict[UUID, list[UUID]] = {}
    for job_id, after_id in db.execute(
        select(JobDependency.job_id, JobDependency.after_id)
        .where(JobDependency.job_id.in_(ids))
        .order_by(JobDependency.after_id)
    ):
        after.setdefault(job_id, []).append(after_id)
    positions = _positions(db, jobs)
    return [
        JobRow(job, versions.get(job.id), after.get(job.id, []), positions.get(job.id))
        for job in jobs
    ]


def _positions(db: Session, jobs: Sequence[Job]) -> dict[UUID, int]:
    """Places among the first jobs of their queue that may run: by priority, then by age.

    Those that are further behind have none: to count them the whole queue would have to be read.
    """
    waiting = [job for job in jobs if job.state == JobState.QUEUED]
    position = func.row_number().over(order_by=(Job.priority.desc(), Job.id))
    positions: dict[UUID, int] = {}
    for queue in {job.queue for job in waiting}:
        ranked = (
            select(Job.id, position.label("position"))
            .where(Job.queue == queue, CLAIMABLE)
            .order_by(Job.priority.desc(), Job.id)
            .limit(MOST_PLACES)
            .subquery()
        )
        mine = select(ranked).where(ranked.c.id.in_([job.id for job in waiting]))
        positions |= dict(db.execute(mine).all())
    return positions
