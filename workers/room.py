"""What the slots of one worker share."""

import threading
from dataclasses import dataclass, field
from uuid import UUID

from service.artifacts.store import ArtifactStore
from service.db.engine import Database
from service.jobs.wake import Waker
from service.settings import Settings
from workers.devices import Devices

SCIENCE = "workers.science:prepare"


class Doorbell:
    """Wakes all who wait; a ring between looking for work and waiting is not lost."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rings = 0

    def rings(self) -> int:
        """To be read before looking for work, and given to `wait` after it."""
        with self._changed:
            return self._rings

    def ring(self) -> None:
        with self._changed:
            self._rings += 1
            self._changed.notify_all()

    def wait(self, seen: int, timeout_seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._rings != seen, timeout_seconds)


@dataclass(frozen=True)
class Room:
    """The worker's connections and its identity. `science` is what its trainers train with."""

    worker_id: UUID
    settings: Settings
    database: Database
    artifacts: ArtifactStore
    waker: Waker
    devices: Devices
    threads: int
    code_version: str
    science: str = SCIENCE
    bell: Doorbell = field(default_factory=Doorbell)
    stopping: threading.Event = field(default_factory=threading.Event)
