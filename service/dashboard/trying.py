"""The page on which a model is tried: what it says of an input that a person gives it."""

from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from service.api import datasets, models
from service.api.deps import Services, ServicesDep
from service.api.routing import produces, protected_router, requires
from service.api.schemas.datasets import DatasetView
from service.api.schemas.models import ModelView
from service.auth.subjects import Scope, Subject
from service.dashboard.pages import render
from service.db.paging import PageRequest
from service.inference.options import DEFAULT_NEW_TOKENS
from service.registry import store
from service.registry.references import PRODUCTION, ModelReference

router = protected_router("/try", tags=["dashboard"])

Reader = Annotated[Subject, requires(Scope.MODELS_READ, Scope.PREDICT)]

FORECASTING = "time-series-forecasting"
OFFERED = PageRequest(limit=200)
MAX_OFFERED_BYTES = 16 * 2**20  # of a data set: the browser reads all of it


@router.get("", include_in_schema=False)
@produces("text/html")
def try_page(
    request: Request,
    subject: Reader,
    services: ServicesDep,
    model: Annotated[ModelReference | None, Query()] = None,
) -> Response:
    """For the model that is asked for, else for a forecaster, else for the newest."""
    offered = models.list_models(subject, OFFERED, services).data
    reference = model or _first(offered)
    if reference is None:
        return render(request, "try.html", reference=None, offered=[])
    with services.database.transaction() as db:
        found, version = store.resolve(db, subject.workspace_id, reference)
    return render(
        request,
        "try.html",
        reference=reference,
        offered=[each.name for each in offered],
        model=found,
        version=version,
        datasets=_with_series(subject, services) if found.task == FORECASTING else [],
        new_tokens=min(DEFAULT_NEW_TOKENS, services.settings.max_new_tokens),
        most_new_tokens=min(2_000, services.settings.max_new_tokens),
    )


def _first(offered: list[ModelView]) -> str | None:
    """One that is in production."""
    ready = [model for model in offered if PRODUCTION in model.aliases]
    ready.sort(key=lambda model: model.task != FORECASTING)
    return ready[0].name if ready else None


def _with_series(subject: Subject, services: Services) -> list[DatasetView]:
    """Data sets that a series can be taken of, where the key may see them."""
    if Scope.DATASETS_READ not in subject.scopes:
        return []
    return [
        dataset
        for dataset in datasets.list_all(OFFERED, subject, services).data
        if FORECASTING in dataset.tasks and dataset.size_bytes <= MAX_OFFERED_BYTES
    ]
