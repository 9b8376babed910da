"""Keeps the worker's row fresh: that it is there, what it offers, when it was last seen."""

import logging
import os
import socket
import threading
from typing import Any

from service.jobs import workers
from service.versions import versions
from workers.attempts import DATABASE_ERRORS
from workers.room import Room
from workers.utilisation import Utilisation

log = logging.getLogger(__name__)


class Presence(threading.Thread):
    """Registers as soon as the database answers, then says "still here" at every heartbeat."""

    def __init__(self, room: Room) -> None:
        super().__init__(name="presence", daemon=True)
        self._room = room
        self._registered = False
        self._over = threading.Event()

    def run(self) -> None:
        description = {**self._room.devices.description, "versions": versions()}
        utilisation = Utilisation(description)
        devices = description  # there is no time yet in which to be busy
        while True:
            try:
                self._say(devices)
            except DATABASE_ERRORS as error:
                log.warning("cannot tell the database that this worker is here: %s", error)
            if self._over.wait(self._room.settings.heartbeat_seconds):
                utilisation.stop()
                return
            devices = utilisation.sample()

    def stop(self) -> None:
        """Says goodbye, if anybody listens."""
        self._over.set()
        self.join(timeout=10)
        try:
            with self._room.database.transaction() as db:
                workers.stopped(db, self._room.worker_id)
        except DATABASE_ERRORS as error:
            log.warning("the database was not told that this worker stops: %s", error)

    def _say(self, devices: dict[str, Any]) -> None:
        room = self._room
        with room.database.transaction() as db:
            if self._registered:
                workers.seen(db, room.worker_id, devices)
            else:
                workers.register(
                    db,
                    room.worker_id,
                    hostname=socket.gethostname(),
                    pid=os.getpid(),
                    queue=room.devices.queue,
                    slots=room.settings.worker_slots,
                    devices=devices,
                )
        self._registered = True
