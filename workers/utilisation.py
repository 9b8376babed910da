"""How busy this machine and its GPUs are, asked at each heartbeat and never waited for."""

import shutil
import subprocess
from typing import Any

import psutil

QUERY = "--query-gpu=index,uuid,utilization.gpu,memory.used"
STOP_SECONDS = 1.0


class Utilisation:
    """Takes samples for one thread: psutil compares what it finds with what that thread saw last.

    `nvidia-smi` takes a while, and for ever where a driver hangs. So each sample starts it and
    shows what the one before had started, if that has come to its end.
    """

    def __init__(self, description: dict[str, Any]) -> None:
        self._description = description
        self._program = shutil.which("nvidia-smi") if description["gpus"] else None
        self._query: subprocess.Popen[str] | None = None
        self._ask()
        _processors()

    def sample(self) -> dict[str, Any]:
        """The description of the devices with how they are used: shares from 0 to 1 of the time
        since the last sample, and memory. What cannot be found out is None."""
        used = self._answer()
        return {
            **self._description,
            "processor_utilisation": _processors(),
            **_memory(),
            "gpus": [{**gpu, **_of(used, gpu["id"])} for gpu in self._description["gpus"]],
        }

    def stop(self) -> None:
        """Ends a query that is under way."""
        if self._query is not None:
            self._query.kill()
            try:
                self._query.communicate(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:  # it hangs in the driver: nobody can end it
                return

    def _answer(self) -> list[dict[str, Any]]:
        """What the last query said, each GPU under its index and UUID; starts the next one."""
        query = self._query
        if query is None or query.poll() is None:
            return []
        table, _ = query.communicate()
        self._ask()
        return _parse(table) if query.returncode == 0 else []

    def _ask(self) -> None:
        self._query = None
        if self._program is None:
            return
        try:
            self._query = subprocess.Popen(
                [self._program, QUERY, "--format=csv,noheader,nounits"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        except OSError:
            self._program = None


def _processors() -> float | None:
    try:
        return round(psutil.cpu_percent() / 100, 3)
    except OSError:  # a kernel that hides it
        return None


def _memory() -> dict[str, int | None]:
    try:
        memory = psutil.virtual_memory()
    except OSError:
        return {"memory_bytes": None, "memory_used_bytes": None}
    return {"memory_bytes": memory.total, "memory_used_bytes": memory.total - memory.available}


def _parse(table: str) -> list[dict[str, Any]]:
    gpus = []
    for line in table.splitlines():
        index, uuid, busy, used = (cell.strip() for cell in line.split(","))
        gpus.append(
            {
                "index": index,
                "uuid": uuid,
                "utilisation": int(busy) / 100 if busy.isdigit() else None,
                "memory_used_mebibytes": int(used) if used.isdigit() else None,
            }
        )
    return gpus


def _of(used: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The figures of one GPU under its name for CUDA: an index, or how its UUID begins."""
    for gpu in used:
        if gpu["index"] == name or gpu["uuid"].startswith(name):
            return {key: gpu[key] for key in ("utilisation", "memory_used_mebibytes")}
    return {"utilisation": None, "memory_used_mebibytes": None}
