"""What is done again and again in a thread beside the reaper: leases do not wait for it."""

import logging
import threading
from collections.abc import Callable

from workers.attempts import DATABASE_ERRORS

log = logging.getLogger(__name__)


class Rounds(threading.Thread):
    """Calls `look` again and again until `stopping` is set. It ends with its process, wherever it
    is, so what it does must bear to be cut off."""

    def __init__(
        self,
        name: str,
        look: Callable[[], None],
        stopping: threading.Event,
        interval_seconds: float,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._look = look
        self._stopping = stopping
        self._interval_seconds = interval_seconds

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look()
            except DATABASE_ERRORS as error:
                log.warning("%s: the database does not answer: %s", self.name, error)
            except Exception:  # a defect in one round must not end the next
                log.exception("%s: a round failed", self.name)
            self._stopping.wait(self._interval_seconds)
