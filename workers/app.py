"""A worker: `python -m workers.app`. Claims jobs, has them trained, reports. Never imports torch.

SIGTERM and SIGINT drain: running jobs are checkpointed and go back to the queue. A second signal
ends the process at once; its trainers die with it and the reaper puts their jobs back.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from uuid import uuid4

from rnn.errors import KernelsError
from rnn.kernels import library
from service.artifacts.store import ArtifactStore
from service.db.engine import Database, make_engine
from service.jobs.wake import Waker
from service.jobs.workers import SERVES
from service.settings import Settings
from service.telemetry import configure_logging
from workers.devices import NoDeviceError, find_devices, trainer_threads
from workers.listening import WakeListener, make_celery
from workers.presence import Presence
from workers.room import SCIENCE, Room
from workers.slots import Slot

log = logging.getLogger("workers")

MAX_PASSES = 8  # of one wake-up from a busy worker to the next
LOOK_SECONDS = 1.0
ENDING_SECONDS = 10.0  # beyond the drain itself, for the last writes


def make_room(settings: Settings, science: str = SCIENCE) -> Room:
    artifacts = ArtifactStore(settings.artifact_dir)
    artifacts.prepare()
    return Room(
        worker_id=uuid4(),
        settings=settings,
        database=Database(make_engine(settings)),
        artifacts=artifacts,
        waker=Waker(settings.redis_url.get_secret_value()),
        devices=find_devices(settings),
        threads=trainer_threads(settings),
        code_version=f"reprise {version('reprise')}",
        science=science,
    )


def run_worker(room: Room) -> None:
    """Works until `room.stopping` is set, then drains."""
    settings = room.settings
    slots = [Slot(room, number) for number in range(settings.worker_slots)]
    presence = Presence(room)
    celery = make_celery(settings.redis_url.get_secret_value(), partial(ring_or_pass, room, slots))
    listener = WakeListener(celery, SERVES[room.devices.queue])
    presence.start()
    for slot in slots:
        slot.start()
    listener.start()
    log.info(
        "worker %s: queue %s, %d slots of %d threads",
        room.worker_id,
        room.devices.queue,
        len(slots),
        room.threads,
    )
    wait_for(room.stopping)
    log.info("worker %s: drains", room.worker_id)
    listener.stop()
    room.bell.ring()
    for slot in slots:
        slot.join(settings.drain_seconds + ENDING_SECONDS)
    presence.stop()
    room.waker.close()
    room.database.close()


def ring_or_pass(room: Room, slots: Sequence[Slot], queue: str, passes: int) -> None:
    """Rings where a slot has time; otherwise the message may have been meant for somebody else.

    A worker that drains has no time, however idle: the message may be of the job it gave back.
    """
    if not room.stopping.is_set() and any(slot.idle for slot in slots):
        room.bell.ring()
    elif passes < MAX_PASSES:
        room.waker.wake(queue, passes=passes + 1)


def stop_on_signals(stopping: threading.Event) -> None:
    """The first signal drains, the second one ends at once."""

    def stop(number: int, _frame: object) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def wait_for(stopping: threading.Event) -> None:
    """On the main thread, where Python answers signals. One that another thread received, or that
    came in the moment before, would not end a wait without a time."""
    while not stopping.wait(LOOK_SECONDS):
        pass


def main() -> None:
    settings = Settings()
    configure_logging(settings.log_level)
    try:
        library.select(settings.kernels)  # or no trainer could start, again and again
        room = make_room(settings)
    except (NoDeviceError, KernelsError) as error:
        sys.exit(str(error))
    stop_on_signals(room.stopping)
    run_worker(room)


if __name__ == "__main__":
    main()
