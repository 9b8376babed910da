"""`/sweeps`: many jobs that differ in a few choices, and the best of them."""

from typing import Annotated, cast
from uuid import UUID

from fastapi import Response

from service.api.deps import ServicesDep
from service.api.pagination import Page, PageDep
from service.api.routing import idempotent, protected_router, requires
from service.api.schemas.jobs import JobError
from service.api.schemas.sweeps import ImportanceView, SweepView, TrialState, TrialView
from service.auth.subjects import Scope, Subject
from service.db.tables import Job, Sweep
from service.jobs.submission import require_scopes
from service.sweeps import store
from service.sweeps.requests import SweepRequest
from service.sweeps.space import values_at
from service.sweeps.store import SweepRow
from service.sweeps.submission import submit_sweep

router = protected_router("/sweeps", tags=["sweeps"])

Reader = Annotated[Subject, requires(Scope.JOBS_READ)]
Writer = Annotated[Subject, requires(Scope.JOBS_WRITE)]


@router.post("", status_code=202)
@idempotent
def create_sweep(
    body: SweepRequest, subject: Writer, services: ServicesDep, response: Response
) -> SweepView:
    """Tries variants of a job, in parallel, and publishes the best network.

    Each trial is a job like any other one; those that are not the best publish nothing.
    """
    require_scopes(subject, body.job)
    sweep_id = submit_sweep(
        services.database,
        services.artifacts,
        services.settings,
        subject.workspace_id,
        subject.key_id,
        body,
    )
    response.headers["Location"] = f"/api/v1/sweeps/{sweep_id}"
    return get_sweep(sweep_id, subject, services)


@router.get("")
def list_sweeps(subject: Reader, services: ServicesDep, page: PageDep) -> Page[SweepView]:
    """The workspace's sweeps, newest first."""
    with services.database.transaction() as db:
        rows, has_more = store.list_sweeps(db, subject.workspace_id, page)
    return Page(data=[_view(row) for row in rows], has_more=has_more)


@router.get("/{sweep_id}")
def get_sweep(sweep_id: UUID, subject: Reader, services: ServicesDep) -> SweepView:
    """How far it is, and the best trial so far."""
    with services.database.transaction() as db:
        return _view(store.get(db, subject.workspace_id, sweep_id))


@router.get("/{sweep_id}/trials")
def list_trials(
    sweep_id: UUID, subject: Reader, services: ServicesDep, page: PageDep
) -> Page[TrialView]:
    """Newest first. `after` is the id of a trial's job."""
    with services.database.transaction() as db:
        sweep = store.find(db, subject.workspace_id, sweep_id)
        jobs, has_more = store.list_trials(db, sweep, page)
    return Page(data=[_trial(sweep, job) for job in jobs], has_more=has_more)


@router.get("/{sweep_id}/importance")
def get_importance(sweep_id: UUID, subject: Reader, services: ServicesDep) -> ImportanceView:
    """Which of the choices mattered (PED-ANOVA), as of the last trial that ended."""
    with services.database.transaction() as db:
        row = store.get(db, subject.workspace_id, sweep_id)
    return ImportanceView(trials=row.trials.get("succeeded", 0), importance=row.sweep.importance)


@router.post("/{sweep_id}/cancel", status_code=202)
def cancel_sweep(sweep_id: UUID, subject: Writer, services: ServicesDep) -> SweepView:
    """Ends a sweep: nothing of it is published, and its trials are cancelled within seconds.
    Repeating is harmless."""
    with services.database.transaction() as db:
        return _view(store.cancel(db, subject.workspace_id, sweep_id))


def _view(row: SweepRow) -> SweepView:
    sweep = row.sweep
    return SweepView.model_validate(
        {
            **{name: getattr(sweep, name) for name in _SAME},
            "dataset": sweep.dataset_id,
            "model": sweep.model_name,
            "version": row.version,
            "trials": row.trials,
            "best": row.best and _trial(sweep, row.best),
            "error": sweep.error and JobError(**sweep.error),
        }
    )


_SAME = SweepView.model_fields.keys() - {
    "dataset",
    "model",
    "version",
    "trials",
    "best",
    "error",
}


def _trial(sweep: Sweep, job: Job) -> TrialView:
    duration = None
    if job.started_at is not None and job.finished_at is not None:
        duration = (job.finished_at - job.started_at).total_seconds()
    return TrialView(
        number=job.trial,
        job=job.id,
        state="pruned" if store.was_pruned(job) else cast(TrialState, job.state),
        params=values_at(job.config, list(sweep.space)),
        value=job.metrics.get(sweep.metric),
        duration_seconds=duration,
        error=JobError(**job.error) if job.error else None,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )
