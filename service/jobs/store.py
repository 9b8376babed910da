"""Jobs as the API sees them: submitted, read, cancelled."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from service.db.paging import PageRequest, read_page
from service.db.tables import Job, JobEvent, ModelVersion, Workspace
from service.errors import ConflictError, NotFoundError, QuotaExceededError
from service.jobs.states import TERMINAL, JobState
from service.jobs.transitions import Attempt, NewEvent, append, move, write
from service.registry.bases import BaseRecord
from service.registry.store import require_task


class JobRow(NamedTuple):
    """A job with what other rows say of it."""

    job: Job
    version: int | None  # of its model, once it succeeded
    queue_position: int | None  # 1 is next, by priority and age


def submit(
    db: Session,
    *,
    workspace_id: UUID,
    created_by: UUID | None,
    dataset_id: UUID,
    model_name: str,
    config: dict[str, Any],
    base: BaseRecord | None = None,
    device: str,
    queue: str,
    priority: int,
    labels: dict[str, str],
    max_queued: int,
) -> Job:
    """Queues a job whose `config` is resolved.

    Raises QuotaExceededError, and ModelTaskMismatchError where the model's name is taken for
    another task. Submissions of one workspace come one after the other, so that both hold.
    """
    db.execute(
        select(Workspace.id).where(Workspace.id == workspace_id).with_for_update(key_share=True)
    )
    queued = db.scalar(
        select(func.count()).where(Job.workspace_id == workspace_id, Job.state == JobState.QUEUED)
    )
    if queued is not None and queued >= max_queued:
        raise QuotaExceededError(
            f"{queued} jobs of this workspace are queued, and {max_queued} are allowed."
        )
    require_task(db, workspace_id, model_name, config["task"])
    job = Job(
        workspace_id=workspace_id,
        created_by=created_by,
        task=config["task"],
        dataset_id=dataset_id,
        model_name=model_name,
        config=config,
        base=base,
        device=device,
        queue=queue,
        priority=priority,
        labels=dict(labels),
        last_event_seq=1,
    )
    db.add(job)
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
) -> tuple[Sequence[JobRow], bool]:
    """The page, newest first, and whether there are older jobs."""
    conditions = []
    if state is not None:
        conditions.append(Job.state == state)
    if task is not None:
        conditions.append(Job.task == task)
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


def is_last(event: JobEvent) -> bool:
    """Whether no event can follow: the job reached a state that is final."""
    return event.type == "state" and event.data["to"] in TERMINAL


def request_cancel(db: Session, workspace_id: UUID, job_id: UUID) -> JobRow:
    """Cancels a queued job at once and asks the worker of a running one to stop it.

    Asking again changes nothing. Raises ConflictError where the job has ended otherwise.
    """
    job = db.scalar(
        select(Job)
        .where(Job.workspace_id == workspace_id, Job.id == job_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if job is None:
        raise NotFoundError(f"There is no job {job_id} here.")
    attempt = Attempt(job.id, job.attempt)
    asked = {"cancel_requested_at": func.clock_timestamp()}
    if job.state == JobState.QUEUED:
        move(db, attempt, JobState.QUEUED, JobState.CANCELLED, "cancelled", values=asked)
    elif job.state == JobState.RUNNING:
        if job.cancel_requested_at is None:
            asking = NewEvent("message", {"level": "info", "text": "cancel requested"})
            write(db, attempt, values=asked, events=[asking])
    elif job.state != JobState.CANCELLED:
        raise ConflictError(f"The job {job.id} is {job.state}: there is nothing to cancel.")
    db.expire(job)
    return get(db, workspace_id, job_id)


def _rows(db: Session, jobs: Sequence[Job]) -> list[JobRow]:
    """The jobs with their model's version and their place in the queue."""
    ids = [job.id for job in jobs]
    versions = dict(
        db.execute(
            select(ModelVersion.job_id, ModelVersion.version).where(ModelVersion.job_id.in_(ids))
        ).all()
    )
    ahead = aliased(Job)
    position = (
        select(func.count() + 1)
        .where(
            ahead.state == JobState.QUEUED,
            ahead.queue == Job.queue,
            or_(
                ahead.priority > Job.priority,
                and_(ahead.priority == Job.priority, ahead.id < Job.id),
            ),
        )
        .correlate(Job)
        .scalar_subquery()
    )
    positions: dict[UUID, int] = dict(
        db.execute(
            select(Job.id, position).where(Job.id.in_(ids), Job.state == JobState.QUEUED)
        ).all()
    )
    return [JobRow(job, versions.get(job.id), positions.get(job.id)) for job in jobs]
