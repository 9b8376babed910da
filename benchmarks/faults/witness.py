"""What the harness itself saw and did, with times since the run began."""

import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.faults.history import Record, read


class Witness:
    """Takes records from every thread."""

    def __init__(self) -> None:
        self.began_epoch = time.time()  # for clocks of the same machine: the database's
        self._began = time.monotonic()  # for the trainers'
        self._lock = threading.Lock()
        self._records: list[Record] = []

    def now(self) -> float:
        return time.monotonic() - self._began

    def note(self, op: str, **fields: Any) -> None:
        with self._lock:
            self._records.append({"op": op, "at": self.now(), **fields})

    def records(self) -> list[Record]:
        with self._lock:
            return list(self._records)

    def trainers(self, folder: Path) -> list[Record]:
        """What the trainers wrote down, each into a file of its own."""
        return [
            {**record, "at": record["at"] - self._began}
            for path in folder.glob("trainer-*.jsonl")
            for record in read(path)
        ]
