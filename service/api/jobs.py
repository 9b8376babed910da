"""`/jobs`: submit, follow, cancel, pause, resume, retry."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Header, Query, Request, Response
from fastapi.sse import EventSourceResponse

from rnn.config import TaskName
from service.api.deps import Services, ServicesDep
from service.api.job_stream import follow
from service.api.job_views import job_view, job_views
from service.api.pagination import Page, PageDep
from service.api.routing import OnceDep, idempotent, produces, protected_router, requires
from service.api.schemas.jobs import (
    CheckpointList,
    CheckpointView,
    EventList,
    EventView,
    JobEstimate,
    JobRetry,
    JobView,
    LogView,
)
from service.auth.subjects import Scope, Subject
from service.errors import NotFoundError
from service.jobs import store
from service.jobs.estimate import estimate
from service.jobs.kinds import JobKind
from service.jobs.logs import log_path
from service.jobs.quotas import default_quota
from service.jobs.requests import JobRequest
from service.jobs.states import TERMINAL, JobState
from service.jobs.store import RetryChanges
from service.jobs.submission import enqueue, prepare, require_scopes
from service.jobs.transitions import EventType
from service.log_files import read_end

router = protected_router("/jobs", tags=["jobs"])

MAX_SEQ = 2**63 - 1
EVENT_STREAM = "text/event-stream"

Reader = Annotated[Subject, requires(Scope.JOBS_READ)]
Writer = Annotated[Subject, requires(Scope.JOBS_WRITE)]
After = Annotated[int, Query(ge=0, le=MAX_SEQ, description="`seq` of the last event seen.")]


@router.post("", status_code=202)
@idempotent
def submit_job(
    body: JobRequest, subject: Writer, services: ServicesDep, response: Response, once: OnceDep
) -> JobView:
    """Queues a training. With `task` and `dataset` alone, everything else is chosen for the data.

    The answer's `config` is what will be trained, with nothing left open.
    """
    require_scopes(subject, body)
    workspace_id, settings = subject.workspace_id, services.settings
    prepared = prepare(services.database, services.artifacts, settings, workspace_id, body)
    with services.database.transaction() as db:
        job = enqueue(db, settings, workspace_id, subject.key_id, body, prepared)
        view = job_view(db, services, store.get(db, workspace_id, job.id))
        response.headers["Location"] = f"/api/v1/jobs/{view.id}"
        once.keep(db, view)
    services.waker.wake(view.queue)
    return view


@router.post("/estimate")
def estimate_job(
    body: JobRequest,
    subject: Annotated[Subject, requires(Scope.JOBS_READ, Scope.DATASETS_READ)],
    services: ServicesDep,
) -> JobEstimate:
    """What a request to `POST /jobs` would train and take, and every error that it would get for
    its choices; nothing is queued."""
    workspace_id, settings = subject.workspace_id, services.settings
    prepared = prepare(services.database, services.artifacts, settings, workspace_id, body)
    with services.database.transaction() as db:
        found = estimate(db, workspace_id, prepared)
    return JobEstimate(
        config=prepared.config.model_dump(mode="json"),
        queue=prepared.queue,
        parameters=prepared.parameters,
        memory_bytes=found.memory_bytes,
        steps=found.steps,
        seconds=found.seconds,
    )


@router.get("")
def list_jobs(
    subject: Reader,
    services: ServicesDep,
    page: PageDep,
    state: Annotated[JobState | None, Query()] = None,
    task: Annotated[TaskName | None, Query()] = None,
    kind: Annotated[JobKind, Query()] = JobKind.TRAINING,
    sweep: Annotated[UUID | None, Query(description="Only the trials of this one.")] = None,
    dataset: Annotated[UUID | None, Query(description="Only those that read this one.")] = None,
) -> Page[JobView]:
    """The workspace's jobs of a kind, newest first."""
    with services.database.transaction() as db:
        rows, has_more = store.list_jobs(
            db,
            subject.workspace_id,
            page,
            state=state,
            task=task,
            kind=kind,
            sweep_id=sweep,
            dataset_id=dataset,
        )
        return Page(data=job_views(db, services, rows), has_more=has_more)


@router.get("/{job_id}")
def get_job(job_id: UUID, subject: Reader, services: ServicesDep) -> JobView:
    with services.database.transaction() as db:
        return job_view(db, services, store.get(db, subject.workspace_id, job_id))


@router.post("/{job_id}/cancel", status_code=202)
def cancel_job(job_id: UUID, subject: Writer, services: ServicesDep) -> JobView:
    """Cancels a queued job at once, stops a running one within seconds. Repeating is harmless."""
    with services.database.transaction() as db:
        return job_view(db, services, store.request_cancel(db, subject.workspace_id, job_id))


@router.post("/{job_id}/pause", status_code=202)
def pause_job(job_id: UUID, subject: Writer, services: ServicesDep) -> JobView:
    """Holds a queued job; a running one is saved within seconds and gives its slot to others."""
    with services.database.transaction() as db:
        return job_view(db, services, store.pause(db, subject.workspace_id, job_id))


@router.post("/{job_id}/resume", status_code=202)
def resume_job(job_id: UUID, subject: Writer, services: ServicesDep) -> JobView:
    """Lets a paused job go on, from where it was saved."""
    with services.database.transaction() as db:
        view = job_view(db, services, store.resume(db, subject.workspace_id, job_id))
    services.waker.wake(view.queue)
    return view


@router.post("/{job_id}/retry", status_code=202)
def retry_job(
    job_id: UUID, subject: Writer, services: ServicesDep, body: JobRetry | None = None
) -> JobView:
    """Queues a job again that failed or was cancelled. A failed one goes on from its last
    checkpoint, if it has one."""
    changes = RetryChanges(deadline=body.deadline) if body and body.model_fields_set else {}
    defaults = default_quota(services.settings)
    with services.database.transaction() as db:
        row = store.retry(db, subject.workspace_id, job_id, changes, defaults=defaults)
        view = job_view(db, services, row)
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
    return _events(services, subject, job_id, after, limit)


@router.get("/{job_id}/metrics")
def list_metrics(
    job_id: UUID,
    subject: Reader,
    services: ServicesDep,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=5000, description="Measurements in the answer.")] = 1000,
) -> EventList:
    """What was measured, oldest first: `data.kind` is `step`, `evaluation` or `diagnostics`."""
    return _events(services, subject, job_id, after, limit, "metrics")


@router.get("/{job_id}/samples")
def list_samples(
    job_id: UUID,
    subject: Reader,
    services: ServicesDep,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=200, description="Samples in the answer.")] = 50,
) -> EventList:
    """How the network answered held-out examples while it was trained, oldest first: `data.samples`
    are of the `kind` `text`, `forecast` or `label`."""
    return _events(services, subject, job_id, after, limit, "sample")


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
    text, truncated = read_end(log_path(services.artifacts, job.id, number), max_bytes)
    return LogView(attempt=number, text=text, truncated=truncated)


def _stream(services: Services, subject: Subject, job_id: UUID, after: int) -> Response:
    with services.database.transaction() as db:
        job = store.find(db, subject.workspace_id, job_id)
    if job.state in TERMINAL and after >= job.last_event_seq:
        return Response(status_code=204)
    return EventSourceResponse(
        follow(services.database, services.news, job_id, after),
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _events(
    services: Services,
    subject: Subject,
    job_id: UUID,
    after: int,
    limit: int,
    type_: EventType | None = None,
) -> EventList:
    with services.database.transaction() as db:
        job = store.find(db, subject.workspace_id, job_id)
        events = store.events_after(db, job.id, after, limit=limit + 1, type_=type_)
        views = [EventView.model_validate(event) for event in events[:limit]]
        return EventList(data=views, has_more=len(events) > limit)
