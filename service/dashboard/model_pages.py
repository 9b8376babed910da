"""The list of models, and the page of one: its versions, where each came from, and its aliases."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated
from uuid import UUID

from fastapi import Query, Request
from starlette.responses import Response

from service.api import models
from service.api.deps import Services, ServicesDep
from service.api.pagination import PageDep
from service.api.routing import produces, protected_router, requires
from service.api.schemas.jobs import JobView
from service.api.schemas.models import VersionView
from service.auth.subjects import Scope, Subject
from service.dashboard.pages import render
from service.datasets.store import get_dataset
from service.db.paging import PageRequest
from service.errors import NotFoundError
from service.registry.references import PRODUCTION

router = protected_router("/models", tags=["dashboard"])

Reader = Annotated[Subject, requires(Scope.MODELS_READ)]

SHOWN_MOVES = 50
MOST_GENERATIONS = 10  # versions that a version comes from, one after the other


@router.get("", include_in_schema=False)
@produces("text/html")
def models_page(
    request: Request, subject: Reader, services: ServicesDep, page: PageDep
) -> Response:
    found = models.list_models(subject, page, services)
    return render(
        request, "models.html", models=found.data, has_more=found.has_more, after=page.after
    )


@router.get("/{name}", include_in_schema=False)
@produces("text/html")
def model_page(
    request: Request,
    name: str,
    subject: Reader,
    services: ServicesDep,
    page: PageDep,
    version: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> Response:
    """Shows one version whole: the one asked for, else the one in production or the newest."""
    model = models.get_model(name, subject, services)
    number = version or model.aliases.get(PRODUCTION, model.latest_version)
    shown = models.get_version(name, number, subject, services)
    versions = models.list_versions(name, subject, page, services)
    moves = models.list_deployments(name, subject, PageRequest(limit=SHOWN_MOVES), services)
    generations = _generations(shown, subject, services)
    return render(
        request,
        "model.html",
        model=model,
        shown=shown,
        asked=version,
        versions=versions.data,
        has_more=versions.has_more,
        after=page.after,
        metrics=metric_names(versions.data),
        moves=moves.data,
        has_more_moves=moves.has_more,
        generations=generations,
        dataset_names=dataset_names(
            [each.dataset_id for each in generations if each.dataset_id], subject, services
        ),
        production=PRODUCTION,
    )


def metric_names(measured: Sequence[VersionView | JobView]) -> list[str]:
    """Of all single figures of versions or jobs, in the order in which they come."""
    names = {
        name: None
        for each in measured
        for name, value in each.metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return list(names)


def _generations(version: VersionView, subject: Subject, services: Services) -> list[VersionView]:
    """The version, after those that it was trained from, as far as they are still here."""
    found = [version]
    while (base := found[0].base_model) is not None and len(found) < MOST_GENERATIONS:
        try:
            earlier = models.get_version(base.name, base.version, subject, services)
        except NotFoundError:
            break
        if earlier.artifact_sha256 != base.sha256:  # another one, with the name of one deleted
            break
        found.insert(0, earlier)
    return found


def dataset_names(
    dataset_ids: Sequence[UUID], subject: Subject, services: Services
) -> dict[UUID, str]:
    """Of those that are still here, for a key that may see them."""
    names: dict[UUID, str] = {}
    if Scope.DATASETS_READ not in subject.scopes:
        return names
    with services.database.transaction() as db:
        for dataset_id in set(dataset_ids):
            with suppress(NotFoundError):
                names[dataset_id] = get_dataset(db, subject.workspace_id, dataset_id).name
    return names
