"""`/jobs`: submit, follow, cancel, pause, resume, retry."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Header, Query, Request, Response
from fastapi.sse import EventSourceResponse
from sqlalchemy.orm import Session

from rnn.config import ClassificationConfig, ForecastingConfig, GenerationConfig, TaskName
from service.api.deps import Services, ServicesDep
from service.api.job_stream import follow
from service.api.pagination import Page, PageDep
from service.api.routing import idempotent, produces, protected_router, requires
from service.api.schemas.jobs import (
    AlertView,
    CheckpointList,
    CheckpointView,
    ClassificationJob,
    EventList,
    EventView,
    ForecastingJob,
    GenerationJob,
    HoldName,
    JobError,
    JobSubmission,
    JobView,
    LogView,
    Progress,
)
from service.api.schemas.models import BaseModelView
from service.auth.subjects import Scope, Subject
from service.datasets.store import get_dataset
from service.db.tables import Dataset, Job
from service.errors import ForbiddenError, ModelTaskMismatchError, NotFoundError
from service.jobs import store
from service.jobs.expectation import Queue, queues_now, remaining_seconds
from service.jobs.logs import log_path, read_tail
from service.jobs.preemption import make_room
from service.jobs.quotas import default_quota
from service.jobs.states import TERMINAL, JobState
from service.jobs.store import JobRow
from service.jobs.submission import default_model_name, fill_in
from service.jobs.workers import choose_queue
from service.registry.bases import find_base
from service.registry.store import require_task

router = protected_router("/jobs", tags=["jobs"])

MAX_SEQ = 2**63 - 1
EVENT_STREAM = "text/event-stream"

Reader = Annotated[Subject, requires(Scope.JOBS_READ)]
Writer = Annotated[Subject, requires(Scope.JOBS_WRITE)]
After = Annotated[int, Query(ge=0, le=MAX_SEQ, description="`seq` of the last event seen.")]


@router.post("", status_code=202)
@idempotent
def submit_job(
    body: JobSubmission, subject: Writer, services: ServicesDep, response: Response
) -> JobView:
    """Queues a training. With `task` and `dataset` alone, everything else is chosen for the data.

    The answer's `config` is what will be trained, with nothing left open.
    """
    if body.priority > 0 and Scope.KEYS_ADMIN not in subject.scopes:
        raise ForbiddenError("A priority above 0 needs the scope keys:admin.")
    settings = services.settings
    with services.database.transaction() as db:
        dataset = get_dataset(db, subject.workspace_id, body.dataset)
        base = None
        if body.base_model is not None:
            base = find_base(db, subject.workspace_id, body.base_model, body.task)
        queue = choose_queue(db, body.device, live_seconds=settings.lease_seconds)
    # Outside a transaction: it may read the whole file.
    path = services.artifacts.dataset_path(dataset.sha256)
    config = fill_in(
        _config(body),
        dataset,
        path,
        queue=queue,
        max_parameters=settings.max_parameters,
        base=base.config if base else None,
    )
    with services.database.transaction() as db:
        # Locked, so that it is not deleted before the job that uses it is there.
        get_dataset(db, subject.workspace_id, dataset.id, for_update=True)
        job = store.submit(
            db,
            workspace_id=subject.workspace_id,
            created_by=subject.key_id,
            dataset_id=dataset.id,
            model_name=body.model or _name_for(db, dataset, body.task),
            config=config.model_dump(mode="json"),
            base=base.record if base else None,
            device=body.device,
            queue=queue,
            priority=body.priority,
            labels=body.metadata,
            after=body.after,
            preempts=body.preempts,
            deadline=body.deadline,
            defaults=default_quota(settings),
        )
        make_room(db, live_seconds=settings.lease_seconds)
        view = _view(db, services, store.get(db, subject.workspace_id, job.id))
    services.waker.wake(view.queue)
    response.headers["Location"] = f"/api/v1/jobs/{view.id}"
    return view


@router.get("")
def list_jobs(
    subject: Reader,
    services: ServicesDep,
    page: PageDep,
    state: Annotated[JobState | None, Query()] = None,
    task: Annotated[TaskName | None, Query()] = None,
) -> Page[JobView]:
    """The workspace's jobs, newest first."""
    with services.database.transaction() as db:
        rows, has_more = store.list_jobs(db, subject.workspace_id, page, state=state, task=task)
        return Page(data=_views(db, services, rows), has_more=has_more)


@router.get("/{job_id}")
def get_job(job_id: UUID, subject: Reader, services: ServicesDep) -> JobView:
    with services.database.transaction() as db:
        return _view(db, services, store.get(db, subject.workspace_id, job_id))


@router.post("/{job_id}/cancel", status_code=202)
def cancel_job(job_id: UUID, subject: Writer, services: ServicesDep) -> JobView:
    """Cancels a queued job at once, stops a running one within seconds. Repeating is harmless."""
    with services.database.transaction() as db:
        return _view(db, services, store.request_cancel(db, subject.workspace_id, job_id))


@router.post("/{job_id}/pause", status_code=202)
def pause_job(job_id: UUID, subject: Writer, services: ServicesDep) -> JobView:
    """Holds a queued job; a running one is saved within seconds and gives its slot to others."""
    with services.database.transaction() as db:
        return _view(db, services, store.pause(db, subject.workspace_id, job_id))


@router.post("/{job_id}/resume", status_code=202)
def resume_job(job_id: UUID, subject: Writer, services: ServicesDep) -> JobView:
    """Lets a paused job go on, from where it was saved."""
    with services.database.transaction() as db:
        view = _view(db, services, store.resume(db, subject.workspace_id, job_id))
    services.waker.wake(view.queue)
    return view


@router.post("/{job_id}/retry", status_code=202)
def retry_job(job_id: UUID, subject: Writer, services: ServicesDep) -> JobView:
    """Queues a job again that failed or was cancelled. A failed one goes on from its last
    checkpoint, if it has one."""
    with services.database.transaction() as db:
        defaults = default_quota(services.settings)
        row = store.retry(db, subject.workspace_id, job_id, defaults=defaults)
        view = _view(db, services, row)
    services.waker.wake(view.queue)
    return view


@router.get(
    "/{job_id}/events",
    response_model=EventList,
    responses={200: {"content": {EVENT_STREAM: {}}}, 204: {"description": "The stream is over."}},
)
@produces("application/json", EVENT_STREAM)
def list_events(
    request: Request,
    job_id: UUID,
    subject: Reader,
    services: ServicesDep,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Events in a JSON answer.")] = 200,
    last_event_id: Annotated[int | None, Header(ge=0, le=MAX_SEQ)] = None,
) -> Any:
    """What happened to the job, oldest first.

    With `Accept: text/event-stream`: server-sent events from the first unseen one (`after`, or
    `Last-Event-ID` of a reconnecting client) to the end of the job; then 204, which tells an
    EventSource to stop.
    """
    if EVENT_STREAM in request.headers.get("accept", ""):
        seen = after if last_event_id is None else last_event_id
        return _stream(services, subject, job_id, seen)
    with services.database.transaction() as db:
        job = store.find(db, subject.workspace_id, job_id)
        return _event_list(store.events_after(db, job.id, after, limit=limit + 1), limit)


@router.get("/{job_id}/metrics")
def list_metrics(
    job_id: UUID,
    subject: Reader,
    services: ServicesDep,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=5000, description="Measurements in the answer.")] = 1000,
) -> EventList:
    """What was measured, oldest first: `data.kind` is `step`, `evaluation` or `diagnostics`."""
    with services.database.transaction() as db:
        job = store.find(db, subject.workspace_id, job_id)
        events = store.events_after(db, job.id, after, limit=limit + 1, type_="metrics")
        return _event_list(events, limit)


@router.get("/{job_id}/checkpoints")
def list_checkpoints(job_id: UUID, subject: Reader, services: ServicesDep) -> CheckpointList:
    """The training states that are kept, newest first."""
    with services.database.transaction() as db:
        kept = store.find(db, subject.workspace_id, job_id).checkpoint
    views = []
    while kept is not None:
        views.append(CheckpointView.model_validate(kept, from_attributes=False))
        kept = kept["previous"]
    return CheckpointList(data=views)


@router.get("/{job_id}/logs")
def get_logs(
    job_id: UUID,
    subject: Reader,
    services: ServicesDep,
    attempt: Annotated[int | None, Query(ge=1, le=2**31, description="null: the last.")] = None,
    max_bytes: Annotated[int, Query(ge=1, le=1_000_000)] = 65_536,
) -> LogView:
    """The end of what the trainer of an attempt printed."""
    with services.database.transaction() as db:
        job = store.find(db, subject.workspace_id, job_id)
    number = job.attempt if attempt is None else attempt
    if not 1 <= number <= job.attempt:
        raise NotFoundError(f"The job {job.id} has had {job.attempt} attempts.")
    text, truncated = read_tail(log_path(services.artifacts, job.id, number), max_bytes)
    return LogView(attempt=number, text=text, truncated=truncated)


def _config(body: ForecastingJob | ClassificationJob | GenerationJob) -> Any:
    """The part of the body that is the trainer's."""
    match body:
        case ForecastingJob():
            kind: Any = ForecastingConfig
        case ClassificationJob():
            kind = ClassificationConfig
        case GenerationJob():
            kind = GenerationConfig
    return kind(**{name: getattr(body, name) for name in kind.model_fields})


def _name_for(db: Session, dataset: Dataset, task: TaskName) -> str:
    name = default_model_name(dataset.name, task, taken=False)
    try:
        require_task(db, dataset.workspace_id, name, task)
    except ModelTaskMismatchError:
        return default_model_name(dataset.name, task, taken=True)
    return name


def _stream(services: Services, subject: Subject, job_id: UUID, after: int) -> Response:
    with services.database.transaction() as db:
        job = store.find(db, subject.workspace_id, job_id)
    if job.state in TERMINAL and after >= job.last_event_seq:
        return Response(status_code=204)
    return EventSourceResponse(
        follow(services.database, services.news, job_id, after),
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _event_list(events: Any, limit: int) -> EventList:
    views = [EventView.model_validate(event) for event in events[:limit]]
    return EventList(data=views, has_more=len(events) > limit)


def _view(db: Session, services: Services, row: JobRow) -> JobView:
    return _views(db, services, [row])[0]


def _views(db: Session, services: Services, rows: Sequence[JobRow]) -> list[JobView]:
    waiting = {row.job.queue for row in rows if row.queue_position is not None}
    queues = queues_now(db, waiting, live_seconds=services.settings.lease_seconds)
    return [_shown(row, queues) for row in rows]


def _shown(row: JobRow, queues: Mapping[str, Queue]) -> JobView:
    job, position = row.job, row.queue_position
    return JobView(
        id=job.id,
        task=job.task,
        dataset=job.dataset_id,
        model=job.model_name,
        version=row.version,
        state=JobState(job.state),
        attempt=job.attempt,
        cancel_requested=job.cancel_requested_at is not None,
        pause_requested=job.pause_requested_at is not None,
        hold=_hold(job),
        queue_position=position,
        progress=_progress(job),
        eta_seconds=remaining_seconds(job),
        starts_in_seconds=queues[job.queue].wait_seconds(position) if position else None,
        metrics=job.metrics,
        alerts=[AlertView.model_validate(alert) for alert in job.progress.get("alerts", [])],
        error=JobError(**job.error) if job.error else None,
        device=job.device,
        queue=job.queue,
        priority=job.priority,
        preempts=job.preempts,
        after=row.after,
        deadline=job.deadline,
        metadata=job.labels,
        base_model=BaseModelView(**job.base) if job.base else None,
        config=job.config,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _progress(job: Job) -> Progress:
    step, total = job.progress.get("step", 0), job.progress.get("total_steps")
    done = 1.0 if job.state == JobState.SUCCEEDED else min(1.0, step / total) if total else 0.0
    return Progress(
        fraction=done, step=step, total_steps=total, epoch=job.progress.get("epoch", 0.0)
    )


def _hold(job: Job) -> HoldName | None:
    if job.state != JobState.QUEUED:
        return None
    if job.paused_at is not None:
        return "paused"
    return "after" if job.blocked else None
