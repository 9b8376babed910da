"""The page of the service's settings and versions."""

from itertools import groupby
from typing import Annotated

from fastapi import Request
from starlette.responses import Response

from service.api import settings, workers
from service.api.deps import ServicesDep
from service.api.routing import produces, protected_router, requires
from service.auth.subjects import Scope, Subject
from service.dashboard.pages import render

router = protected_router("/settings", tags=["dashboard"])


@router.get("", include_in_schema=False)
@produces("text/html")
def settings_page(
    request: Request,
    subject: Annotated[Subject, requires(Scope.KEYS_ADMIN, Scope.JOBS_READ)],
    services: ServicesDep,
) -> Response:
    found = settings.list_settings(subject, services)
    return render(
        request,
        "settings.html",
        versions=found.versions,
        groups=[
            (name, list(those)) for name, those in groupby(found.data, lambda each: each.group)
        ],
        count=len(found.data),
        changed=sum(each.changed for each in found.data),
        workers=[
            worker
            for worker in workers.list_workers(subject, services).data
            if worker.state == "live"
        ],
    )
