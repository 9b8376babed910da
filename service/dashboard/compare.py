"""The page of jobs side by side: their curves, what differs between them, and what they came to."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from fastapi import Query, Request
from starlette.responses import Response

from service.api import jobs
from service.api.deps import ServicesDep
from service.api.routing import produces, protected_router, requires
from service.api.schemas.jobs import JobView
from service.auth.subjects import Scope, Subject
from service.dashboard.model_pages import dataset_names, metric_names
from service.dashboard.pages import render
from service.db.paging import PageRequest
from service.errors import Fault, ValidationError
from service.jobs.states import TERMINAL

router = protected_router("/compare", tags=["dashboard"])

LETTERS = "ABCDEFGH"
MOST_JOBS = len(LETTERS)
OFFERED = PageRequest(limit=100)
ABSENT = "–"


class Setting(NamedTuple):
    """One setting, of each job in their order."""

    path: str
    values: list[str]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


@router.get("", include_in_schema=False)
@produces("text/html")
def compare_page(
    request: Request,
    subject: Annotated[Subject, requires(Scope.JOBS_READ)],
    services: ServicesDep,
    job: Annotated[list[UUID], Query(default_factory=list, description="May be repeated.")],
) -> Response:
    wanted = list(dict.fromkeys(job))
    if len(wanted) > MOST_JOBS:
        message = f"names {len(wanted)} jobs, and {MOST_JOBS} can be compared at a time"
        raise ValidationError(f"The address {message}.", faults=[Fault(("query", "job"), message)])
    compared = [jobs.get_job(each, subject, services) for each in wanted]
    offered = jobs.list_jobs(subject, services, OFFERED).data
    return render(
        request,
        "compare.html",
        jobs=list(zip(LETTERS, compared, strict=False)),
        offered=[each for each in offered if each.id not in wanted],
        most=MOST_JOBS,
        ended=TERMINAL,
        metrics=metric_names(compared),
        settings=settings_of(
            compared, dataset_names([each.dataset for each in compared], subject, services)
        ),
    )


def settings_of(compared: Sequence[JobView], names: Mapping[UUID, str]) -> list[Setting]:
    """Every setting of any of the jobs, in the order of the first that has it.

    Args:
        names: of data sets; one without a name is shown by its id.
    """
    found = [dict(_settings(job, names)) for job in compared]
    paths = dict.fromkeys(path for each in found for path in each)
    return [Setting(path, [each.get(path, ABSENT) for each in found]) for path in paths]


def _settings(job: JobView, names: Mapping[UUID, str]) -> Iterator[tuple[str, str]]:
    yield "model", job.model
    yield "dataset", names.get(job.dataset, str(job.dataset))
    if job.base_model is not None:
        yield "base_model", f"{job.base_model.name}:{job.base_model.version}"
    yield "device", job.device
    yield from _leaves("metadata", job.metadata)
    for name, value in job.config.items():
        yield from _leaves(name, value)


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(f"{path}.{name}", inner)
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
