"""The page on which a job is put together."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request
from starlette.responses import Response

from rnn.config import TaskName
from service.api import datasets, jobs
from service.api.deps import ServicesDep
from service.api.routing import produces, protected_router, requires
from service.api.schemas.datasets import DatasetView
from service.api.schemas.jobs import JobView
from service.auth.subjects import Scope, Subject
from service.dashboard.form import PARTS, REQUESTS, sections
from service.dashboard.pages import render
from service.db.paging import PageRequest
from service.errors import NotFoundError

# Its path would be one of a job: this router comes before that of the jobs.
router = protected_router("/jobs/new", tags=["dashboard"])

OFFERED = 200


@router.get("", include_in_schema=False)
@produces("text/html")
def new_job_page(
    request: Request,
    subject: Annotated[Subject, requires(Scope.JOBS_READ, Scope.DATASETS_READ)],
    services: ServicesDep,
    task: Annotated[TaskName | None, Query()] = None,
    dataset: Annotated[UUID | None, Query()] = None,
    clone: Annotated[UUID | None, Query(description="A job whose choices are taken over.")] = None,
) -> Response:
    copied = None if clone is None else jobs.get_job(clone, subject, services)
    offered = datasets.list_all(PageRequest(limit=OFFERED), subject, services).data
    wanted = dataset or (copied.dataset if copied else None)
    chosen = next((each for each in offered if each.id == wanted), None)
    if chosen is None and wanted is not None:
        try:
            chosen = datasets.read(wanted, subject, services)
            offered = [*offered, chosen]
        except NotFoundError:
            if copied is None:
                raise  # of a job that is cloned it may have been deleted since
    if task is None:
        task = copied.config["task"] if copied else _first_task(chosen or next(iter(offered), None))
    if chosen is None and copied is None:
        chosen = next((each for each in offered if task in each.tasks), None)
    return render(
        request,
        "new_job.html",
        datasets=offered,
        chosen=chosen.id if chosen else None,
        gone=copied is not None and chosen is None,
        task=task,
        tasks=list(REQUESTS),
        form=sections(task),
        copied=copied,
        values=choices(copied) if copied and copied.config["task"] == task else {},
        most_trials=services.settings.max_sweep_trials,
        may_submit=Scope.JOBS_WRITE in subject.scopes,
    )


def choices(job: JobView) -> dict[str, Any]:
    """What a request has to say for the same training, by the fields' paths."""
    found: dict[str, Any] = {"preset": job.config["preset"], "model": job.model}
    if job.base_model is not None:
        found["base_model"] = f"{job.base_model.name}:{job.base_model.version}"
    if job.device != "auto":
        found["device"] = job.device
    if job.metadata:
        found["metadata"] = job.metadata
    for part in PARTS:
        for name, value in job.config.get(part, {}).items():  # an old job has fewer
            found[f"{part}.{name}"] = value
            if isinstance(value, dict):
                found |= {f"{part}.{name}.{inner}": each for inner, each in value.items()}
    return found


def _first_task(dataset: DatasetView | None) -> TaskName:
    suited = dataset.tasks if dataset else []
    return next((task for task in REQUESTS if task in suited), "time-series-forecasting")
