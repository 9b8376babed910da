"""Which accelerators this machine offers, asked without importing torch."""

import os
import shutil
import subprocess
from typing import Any, NamedTuple

from service.jobs.workers import CPU, GPU
from service.settings import Settings

QUERY_SECONDS = 10


class Devices(NamedTuple):
    """What a worker has: its queue, and the identifiers of its GPUs as CUDA takes them."""

    queue: str
    gpus: tuple[str, ...]
    description: dict[str, Any]


class NoDeviceError(Exception):
    """The settings ask for a GPU and there is none; the message is for the person who starts it."""


def find_devices(settings: Settings) -> Devices:
    """The devices that this worker trains on, as its settings allow."""
    cores = len(os.sched_getaffinity(0))
    gpus = [] if settings.device == "cpu" else _gpus()
    if settings.device == "cuda" and not gpus:
        raise NoDeviceError(
            "REPRISE_DEVICE is cuda, but nvidia-smi finds no GPU: install the driver,"
            " or set it to auto or cpu."
        )
    return Devices(
        queue=GPU if gpus else CPU,
        gpus=tuple(gpu["id"] for gpu in gpus),
        description={"cores": cores, "gpus": gpus},
    )


def trainer_threads(settings: Settings) -> int:
    """Threads of one trainer: as set, or an equal share of the cores."""
    share = len(os.sched_getaffinity(0)) // settings.worker_slots
    return settings.trainer_threads or max(1, share)


def _gpus() -> list[dict[str, Any]]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            query, capture_output=True, text=True, timeout=QUERY_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):  # no driver, or one that does not answer
        return []
    return _visible(_parse(answer.stdout), os.environ.get("CUDA_VISIBLE_DEVICES"))


def _parse(table: str) -> list[dict[str, Any]]:
    gpus = []
    for line in table.splitlines():
        index, name, memory = (cell.strip() for cell in line.split(","))
        mebibytes = int(memory) if memory.isdigit() else None
        gpus.append({"id": index, "name": name, "memory_mebibytes": mebibytes})
    return gpus


def _visible(gpus: list[dict[str, Any]], visible: str | None) -> list[dict[str, Any]]:
    """Those that CUDA_VISIBLE_DEVICES leaves, under the names that it uses."""
    if visible is None:
        return gpus
    by_index = {gpu["id"]: gpu for gpu in gpus}
    names = [name.strip() for name in visible.split(",") if name.strip()]
    unnamed = {"name": "GPU", "memory_mebibytes": None}
    return [{**by_index.get(name, unnamed), "id": name} for name in names] if gpus else []
