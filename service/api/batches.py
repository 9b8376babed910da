"""`/batches`: whole data sets predicted by a worker. A batch is a job, and goes the way of one."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from rnn.config import TaskName
from service.api.deps import Services, ServicesDep
from service.api.job_views import fraction_done, show
from service.api.pagination import Page, PageDep
from service.api.routing import OnceDep, idempotent, protected_router, requires
from service.api.schemas.batches import BatchProgress, BatchView
from service.api.schemas.jobs import JobRetry
from service.api.schemas.models import BaseModelView
from service.auth.subjects import Scope, Subject
from service.batches import submission
from service.batches.requests import BatchRequest
from service.batches.store import require_batch
from service.jobs import store
from service.jobs.kinds import JobKind
from service.jobs.quotas import default_quota
from service.jobs.states import JobState
from service.jobs.store import JobRow, RetryChanges
from service.jobs.submission import require_scopes

router: APIRouter = protected_router("/batches", tags=["predictions"])

Reader = Annotated[Subject, requires(Scope.JOBS_READ)]
Writer = Annotated[Subject, requires(Scope.JOBS_WRITE, Scope.PREDICT)]


@router.post("", status_code=202)
@idempotent
def submit_batch(
    body: BatchRequest, subject: Writer, services: ServicesDep, response: Response, once: OnceDep
) -> BatchView:
    """Queues the prediction of a whole data set. The model's task decides which options there are;
    the version that the model's name stands for now is the one that predicts.

    The answer's `config` is what will be done, with nothing left open.
    """
    require_scopes(subject, body)
    workspace_id, settings = subject.workspace_id, services.settings
    with services.database.transaction() as db:
        job = submission.submit(db, settings, workspace_id, subject.key_id, body)
        view = _view(db, services, store.get(db, workspace_id, job.id))
        response.headers["Location"] = f"/api/v1/batches/{view.id}"
        once.keep(db, view)
    services.waker.wake(view.queue)
    return view


@router.get("")
def list_batches(
    subject: Reader,
    services: ServicesDep,
    page: PageDep,
    state: Annotated[JobState | None, Query()] = None,
    task: Annotated[TaskName | None, Query()] = None,
) -> Page[BatchView]:
    """The workspace's batches, newest first."""
    with services.database.transaction() as db:
        rows, has_more = store.list_jobs(
            db, subject.workspace_id, page, state=state, task=task, kind=JobKind.PREDICTION
        )
        return Page(data=show(db, services, rows, _shown), has_more=has_more)


@router.get("/{batch_id}")
def get_batch(batch_id: UUID, subject: Reader, services: ServicesDep) -> BatchView:
    with services.database.transaction() as db:
        require_batch(db, subject.workspace_id, batch_id)
        return _view(db, services, store.get(db, subject.workspace_id, batch_id))


@router.post("/{batch_id}/cancel", status_code=202)
def cancel_batch(batch_id: UUID, subject: Writer, services: ServicesDep) -> BatchView:
    """Cancels a queued batch at once, stops a running one within seconds. Repeating is harmless."""
    with services.database.transaction() as db:
        require_batch(db, subject.workspace_id, batch_id)
        return _view(db, services, store.request_cancel(db, subject.workspace_id, batch_id))


@router.post("/{batch_id}/pause", status_code=202)
def pause_batch(batch_id: UUID, subject: Writer, services: ServicesDep) -> BatchView:
    """Holds a queued batch; a running one is saved within seconds and gives its slot to others."""
    with services.database.transaction() as db:
        require_batch(db, subject.workspace_id, batch_id)
        return _view(db, services, store.pause(db, subject.workspace_id, batch_id))


@router.post("/{batch_id}/resume", status_code=202)
def resume_batch(batch_id: UUID, subject: Writer, services: ServicesDep) -> BatchView:
    """Lets a paused batch go on, after the last row that was saved."""
    with services.database.transaction() as db:
        require_batch(db, subject.workspace_id, batch_id)
        view = _view(db, services, store.resume(db, subject.workspace_id, batch_id))
    services.waker.wake(view.queue)
    return view


@router.post("/{batch_id}/retry", status_code=202)
def retry_batch(
    batch_id: UUID, subject: Writer, services: ServicesDep, body: JobRetry | None = None
) -> BatchView:
    """Queues a batch again that failed or was cancelled. A failed one goes on after the last row
    that was saved, if there is one."""
    changes = RetryChanges(deadline=body.deadline) if body and body.model_fields_set else {}
    defaults = default_quota(services.settings)
    with services.database.transaction() as db:
        require_batch(db, subject.workspace_id, batch_id)
        row = store.retry(db, subject.workspace_id, batch_id, changes, defaults=defaults)
        view = _view(db, services, row)
    services.waker.wake(view.queue)
    return view


def _view(db: Session, services: Services, row: JobRow) -> BatchView:
    return show(db, services, [row], _shown)[0]


def _shown(row: JobRow, work: dict[str, Any]) -> BatchView:
    job = row.job
    assert job.base is not None, "a batch names its model"
    return BatchView(
        **work,
        model=BaseModelView(**job.base),
        progress=BatchProgress(
            fraction=fraction_done(job),
            rows=job.progress.get("step", 0),
            total_rows=job.progress.get("total_steps"),
            failed_rows=job.progress.get("failed_rows", 0),
            rows_per_second=job.progress.get("steps_per_second"),
        ),
        result=job.result_dataset_id,
    )
