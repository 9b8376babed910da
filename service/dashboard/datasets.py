"""The list of data sets with the upload, and the page of one."""

from typing import Annotated
from uuid import UUID

from fastapi import Request
from starlette.responses import Response

from service.api import datasets, jobs
from service.api.deps import ServicesDep
from service.api.pagination import PageDep
from service.api.routing import produces, protected_router, requires
from service.auth.subjects import Scope, Subject
from service.dashboard.pages import render
from service.dashboard.plots import (
    label_bars,
    series_length_bars,
    series_lines,
    text_length_bars,
)
from service.db.paging import PageRequest
from service.jobs.kinds import JobKind

router = protected_router("/datasets", tags=["dashboard"])

DRAWN_ROWS = 1_000
SHOWN_ROWS = 20
SHOWN_TEXTS = 3
SHOWN_JOBS = 20


@router.get("", include_in_schema=False)
@produces("text/html")
def datasets_page(
    request: Request,
    subject: Annotated[Subject, requires(Scope.DATASETS_READ)],
    services: ServicesDep,
    page: PageDep,
) -> Response:
    found = datasets.list_all(page, subject, services)
    return render(
        request,
        "datasets.html",
        datasets=found.data,
        has_more=found.has_more,
        after=page.after,
        may_write=Scope.DATASETS_WRITE in subject.scopes,
        most_bytes=services.settings.max_upload_bytes,
    )


@router.get("/{dataset_id}", include_in_schema=False)
@produces("text/html")
def dataset_page(
    request: Request,
    dataset_id: UUID,
    subject: Annotated[Subject, requires(Scope.DATASETS_READ, Scope.JOBS_READ)],
    services: ServicesDep,
) -> Response:
    dataset = datasets.read(dataset_id, subject, services)
    profile = dataset.profile
    first = datasets.read_preview(dataset_id, subject, services, DRAWN_ROWS)
    column = profile.labels.text_column if profile.labels else None
    if column is None and profile.text is not None:
        column = profile.text.text_column or "text"
    texts = [row[column] or "" for row in first.rows] if column else []
    newest = PageRequest(limit=SHOWN_JOBS, after=None)
    used = [
        jobs.list_jobs(subject, services, newest, kind=kind, dataset=dataset_id) for kind in JobKind
    ]
    return render(
        request,
        "dataset.html",
        dataset=dataset,
        plots={
            "series": series_lines(profile, first),
            "series_lengths": series_length_bars(profile),
            "text_lengths": text_length_bars(texts),
        },
        labels=label_bars(profile),
        texts=[text for text in texts if text.strip()][:SHOWN_TEXTS],
        columns=first.columns,
        rows=first.rows[:SHOWN_ROWS],
        drawn=len(first.rows),
        jobs=[job for each in used for job in each.data],
        more_jobs=any(each.has_more for each in used),
        may_write=Scope.DATASETS_WRITE in subject.scopes,
    )
