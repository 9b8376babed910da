"""`/dataset-aliases`: movable names of data sets."""

from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator

from service.api.deps import ServicesDep
from service.api.pagination import Page, PageDep
from service.api.routing import protected_router, requires
from service.api.schemas.dataset_aliases import DatasetAliasMove, DatasetAliasView
from service.auth.subjects import Scope, Subject
from service.datasets import aliases
from service.db.tables import DatasetAlias

router = protected_router("/dataset-aliases", tags=["datasets"])

Reader = Annotated[Subject, requires(Scope.DATASETS_READ)]
Writer = Annotated[Subject, requires(Scope.DATASETS_WRITE)]
Alias = Annotated[str, Path(), AfterValidator(aliases.check_alias)]


@router.put("/{alias}")
def move_alias(
    alias: Alias, body: DatasetAliasMove, subject: Writer, services: ServicesDep
) -> DatasetAliasView:
    """Points an alias, a new one or one that is there, at a data set. Jobs that were submitted
    with it keep what it meant then."""
    with services.database.transaction() as db:
        return _view(aliases.move_alias(db, subject.workspace_id, alias, body.dataset))


@router.get("")
def list_aliases(subject: Reader, page: PageDep, services: ServicesDep) -> Page[DatasetAliasView]:
    """The workspace's aliases, newest first."""
    with services.database.transaction() as db:
        found, has_more = aliases.list_aliases(db, subject.workspace_id, page)
        return Page(data=[_view(each) for each in found], has_more=has_more)


@router.get("/{alias}")
def get_alias(alias: str, subject: Reader, services: ServicesDep) -> DatasetAliasView:
    with services.database.transaction() as db:
        return _view(aliases.get_alias(db, subject.workspace_id, alias))


@router.delete("/{alias}", status_code=204)
def remove_alias(alias: str, subject: Writer, services: ServicesDep) -> None:
    """The data set stays."""
    with services.database.transaction() as db:
        aliases.remove_alias(db, subject.workspace_id, alias)


def _view(alias: DatasetAlias) -> DatasetAliasView:
    return DatasetAliasView(
        id=alias.id,
        alias=alias.alias,
        dataset=alias.dataset_id,
        moved_at=alias.moved_at,
        created_at=alias.created_at,
    )
