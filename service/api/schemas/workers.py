"""Bodies of `/workers`."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from service.api.schemas.base import View


class WorkerView(View):
    id: UUID
    state: Literal["live", "lost", "stopped"]
    hostname: str
    queue: Literal["cpu", "gpu"]
    slots: int
    running_jobs: int
    devices: dict[str, Any]
    started_at: datetime
    seen_at: datetime


class WorkerList(View):
    data: list[WorkerView]
