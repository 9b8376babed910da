"""Reads one page of records that belong to a workspace or a model, newest first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from service.db.tables import WithId
from service.errors import Fault, ValidationError

Record = TypeVar("Record", bound=WithId)


@dataclass(frozen=True)
class PageRequest:
    """At most `limit` records that are older than the record `after`."""

    limit: int
    after: UUID | None = None


def read_page(
    db: Session,
    table: type[Record],
    owned: ColumnElement[bool],
    page: PageRequest,
    *conditions: ColumnElement[bool],
) -> tuple[Sequence[Record], bool]:
    """The page, and whether there are older records.

    `owned` says whose list it is: `after` must be in it, also where the conditions hide it now.
    """
    query = select(table).where(owned, *conditions)
    if page.after is not None:
        known = select(table.id).where(table.id == page.after, owned)
        if db.scalar(known) is None:
            fault = Fault(("query", "after"), "is not the id of a record of this list")
            raise ValidationError("The page cannot be found.", faults=[fault])
        query = query.where(table.id < page.after)
    records = db.scalars(query.order_by(table.id.desc()).limit(page.limit + 1)).all()
    return records[: page.limit], len(records) > page.limit
