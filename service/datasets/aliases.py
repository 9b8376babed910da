"""Movable names of data sets: what a schedule retrains on is what its alias points at by then."""

import re
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.datasets.store import get_dataset
from service.db.paging import PageRequest, read_page
from service.db.tables import Dataset, DatasetAlias
from service.errors import NotFoundError
from service.registry.references import NAME_PATTERN

REFERENCE_FORM = "write a data set as its id or as an alias of it"
ALIAS_FORM = (
    "an alias has 1 to 64 of a-z, 0-9, dot, dash and underscore, begins with a letter or digit, "
    "and does not read as an id"
)
_ALIAS = re.compile(NAME_PATTERN[1:-1])


def check_alias(text: str) -> str:
    """Raises ValueError where the text cannot be an alias: an id never is one."""
    if _ALIAS.fullmatch(text) is None or _id_in(text) is not None:
        raise ValueError(ALIAS_FORM)
    return text


def _check_reference(text: str) -> str:
    if _id_in(text) is None and _ALIAS.fullmatch(text) is None:
        raise ValueError(REFERENCE_FORM)
    return text


DatasetReference = Annotated[
    str,
    AfterValidator(_check_reference),
    Field(
        max_length=64,
        description="Id of an uploaded data set, or an alias.",
        examples=["01991d6e-5f1c-7e0a-b5a1-6d2c9f0e4a11", "sales-latest"],
    ),
]


def find_dataset(db: Session, workspace_id: UUID, reference: str) -> Dataset:
    """The data set that an id or an alias stands for now; raises NotFoundError."""
    dataset_id = _id_in(reference)
    if dataset_id is None:
        dataset_id = get_alias(db, workspace_id, reference).dataset_id
    return get_dataset(db, workspace_id, dataset_id)


def move_alias(db: Session, workspace_id: UUID, alias: str, dataset_id: UUID) -> DatasetAlias:
    """Points an alias, a new one or one that is there, at a data set; raises NotFoundError."""
    get_dataset(db, workspace_id, dataset_id, keep=True)
    statement = insert(DatasetAlias).values(
        workspace_id=workspace_id, alias=alias, dataset_id=dataset_id
    )
    return db.scalars(
        statement.on_conflict_do_update(
            index_elements=[DatasetAlias.workspace_id, DatasetAlias.alias],
            set_={"dataset_id": dataset_id, "moved_at": func.now()},
        ).returning(DatasetAlias),
        execution_options={"populate_existing": True},
    ).one()


def get_alias(db: Session, workspace_id: UUID, alias: str) -> DatasetAlias:
    found = db.scalar(
        select(DatasetAlias).where(
            DatasetAlias.workspace_id == workspace_id, DatasetAlias.alias == alias
        )
    )
    if found is None:
        raise NotFoundError(f"No data set here has the alias {alias!r}.")
    return found


def list_aliases(
    db: Session, workspace_id: UUID, page: PageRequest
) -> tuple[Sequence[DatasetAlias], bool]:
    """Newest first; and whether there are older ones."""
    return read_page(db, DatasetAlias, DatasetAlias.workspace_id == workspace_id, page)


def remove_alias(db: Session, workspace_id: UUID, alias: str) -> None:
    """The data set stays. Schedules that name the alias say that it is gone when they are due."""
    db.delete(get_alias(db, workspace_id, alias))


def _id_in(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
