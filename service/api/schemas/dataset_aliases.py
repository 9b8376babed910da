"""Bodies of `/dataset-aliases`."""

from datetime import datetime
from uuid import UUID

from service.api.schemas.base import StrictBody, View
from service.json_values import Id


class DatasetAliasMove(StrictBody):
    dataset: Id


class DatasetAliasView(View):
    id: UUID
    alias: str
    dataset: UUID
    moved_at: datetime
    created_at: datetime
