"""The page of what each key used."""

from datetime import date
from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from service.api import usage
from service.api.deps import ServicesDep
from service.api.routing import produces, protected_router, requires
from service.api.schemas.usage import UsageView
from service.auth.subjects import Scope, Subject
from service.dashboard.pages import render

router = protected_router("/usage", tags=["dashboard"])

MEASURES = tuple(name for name in UsageView.model_fields if name not in {"day", "key", "key_name"})


@router.get("", include_in_schema=False)
@produces("text/html")
async def usage_page(
    request: Request,
    subject: Annotated[Subject, requires(Scope.KEYS_ADMIN)],
    services: ServicesDep,
    since: Annotated[date | None, Query()] = None,
    until: Annotated[date | None, Query()] = None,
) -> Response:
    report = await usage.get_usage(subject, services, since, until)
    return render(
        request,
        "usage.html",
        report=report,
        measures=MEASURES,
        totals={name: sum(getattr(row, name) for row in report.data) for name in MEASURES},
    )
