"""Reads one page of records of a workspace, newest first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from service.db.tables import InWorkspace
from service.errors import Fault, ValidationError

Record = TypeVar("Record", bound=InWorkspace)


@dataclass(frozen=True)
class PageRequest:
    """At most `limit` records that are older than the record `after`."""

    limit: int
    after: UUID | None = None


def read_page(
    db: Session,
    table: type[Record],
    workspace_id: UUID,
    page: PageRequest,
    *conditions: ColumnElement[bool],
) -> tuple[Sequence[Record], bool]:
    """The page, and whether there are older records."""
    query = select(table).where(table.workspace_id == workspace_id, *conditions)
    if page.after is not None:
        known = select(table.id).where(table.id == page.after, table.workspace_id == workspace_id)
        if db.scalar(known) is None:
            fault = Fault(("query", "after"), "is not the id of a record of this list")
            raise ValidationError("The page cannot be found.", faults=[fault])
        query = query.where(table.id < page.after)
    records = db.scalars(query.order_by(table.id.desc()).limit(page.limit + 1)).all()
    return records[: page.limit], len(records) > page.limit
