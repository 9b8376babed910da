"""Bodies of `/workers`."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from service.api.schemas.base import View
from service.api.schemas.settings import VersionsView


class GpuView(View):
    id: str
    name: str
    memory_mebibytes: int | None
    utilisation: float | None = Field(None, description="Share of the last moments, 0 to 1.")
    memory_used_mebibytes: int | None = None


class DevicesView(View):
    """What a worker's machine has and, as of `seen_at`, how busy all of it is with whatever runs
    there; null where the worker could not find it out, or did not report it."""

    cores: int | None = Field(None, description="That the worker may use.")
    processor_utilisation: float | None = Field(None, description="Share of all cores, 0 to 1.")
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None
    gpus: list[GpuView] = Field(default_factory=list)


class WorkerView(View):
    id: UUID
    state: Literal["live", "lost", "stopped"]
    hostname: str
    queue: Literal["cpu", "gpu"]
    slots: int
    running_jobs: int
    devices: DevicesView
    versions: VersionsView | None
    started_at: datetime
    seen_at: datetime


class WorkerList(View):
    data: list[WorkerView]
