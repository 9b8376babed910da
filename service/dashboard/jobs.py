"""The list of jobs, and the page of one."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request
from starlette.responses import Response

from rnn.config import TaskName
from service.api import batches, jobs
from service.api.deps import ServicesDep
from service.api.pagination import PageDep
from service.api.routing import produces, protected_router, requires
from service.auth.subjects import Scope, Subject
from service.dashboard.model_pages import dataset_names
from service.dashboard.pages import render
from service.jobs.kinds import JobKind
from service.jobs.states import TERMINAL, JobState

router = protected_router("/jobs", tags=["dashboard"])

Reader = Annotated[Subject, requires(Scope.JOBS_READ)]

TASKS: tuple[TaskName, ...] = TaskName.__args__  # type: ignore[attr-defined]
SHOWN_EVENTS = 200


@router.get("", include_in_schema=False)
@produces("text/html")
def jobs_page(
    request: Request,
    subject: Reader,
    services: ServicesDep,
    page: PageDep,
    state: Annotated[JobState | None, Query()] = None,
    task: Annotated[TaskName | None, Query()] = None,
    kind: Annotated[JobKind, Query()] = JobKind.TRAINING,
) -> Response:
    found = jobs.list_jobs(subject, services, page, state, task, kind)
    return render(
        request,
        "jobs.html",
        jobs=found.data,
        has_more=found.has_more,
        after=page.after,
        state=state,
        task=task,
        kind=kind,
        states=list(JobState),
        tasks=TASKS,
    )


@router.get("/{job_id}", include_in_schema=False)
@produces("text/html")
def job_page(request: Request, job_id: UUID, subject: Reader, services: ServicesDep) -> Response:
    job = jobs.get_job(job_id, subject, services)
    predicts = job.kind is JobKind.PREDICTION
    return render(
        request,
        "job.html",
        job=job,
        dataset_name=dataset_names([job.dataset], subject, services).get(job.dataset),
        predicts=predicts,
        result=batches.get_batch(job_id, subject, services).result if predicts else None,
        ended=job.state in TERMINAL,
        checkpoints=jobs.list_checkpoints(job_id, subject, services).data,
    )
