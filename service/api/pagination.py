"""Lists over HTTP: `limit`, `after`, newest first, `has_more`."""

from typing import Annotated, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Query

from service.api.schemas.base import View
from service.db.paging import PageRequest

Item = TypeVar("Item")


class Page(View, Generic[Item]):
    data: list[Item]
    has_more: bool


async def _page_request(
    limit: Annotated[int, Query(ge=1, le=200, description="Records in this answer.")] = 50,
    after: Annotated[
        UUID | None, Query(description="Id of the last record that was already seen.")
    ] = None,
) -> PageRequest:
    return PageRequest(limit=limit, after=after)


PageDep = Annotated[PageRequest, Depends(_page_request)]
