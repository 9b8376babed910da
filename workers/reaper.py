"""The reaper: `python -m workers.reaper`. Repairs what crashes leave behind, every few seconds.

It needs PostgreSQL alone. Several may run: each tick is taken by one of them.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from service.artifacts.store import ArtifactStore
from service.db.engine import Database, make_engine
from service.heartbeats import REAPER, beat
from service.idempotency import delete_expired
from service.jobs.endings import expire_deadline, expire_lease
from service.jobs.preemption import make_room
from service.jobs.quotas import default_quota
from service.jobs.wake import Waker
from service.jobs.workers import leave_dead_gpus, waiting_queues
from service.schedules.runs import Scheduler
from service.settings import Settings
from service.sweeps.controller import Controller
from service.telemetry import configure_logging
from workers.attempts import DATABASE_ERRORS
from workers.cleaning import CLEAN_SECONDS, Cleaner
from workers.rounds import Rounds

log = logging.getLogger("workers.reaper")

LOCK = 0x5265_6170  # one tick at a time, whoever does it


class Reaper:
    """One process's ticks."""

    def __init__(self, settings: Settings, database: Database, waker: Waker) -> None:
        self._settings = settings
        self._database = database
        self._waker = waker
        self._spare_until = 0.0

    def tick(self) -> None:
        """Expires leases, looks after waiting jobs; wakes workers after the commit.

        After an outage of the database nobody could prolong a lease: workers get the time of one
        lease to do so before theirs is taken away.
        """
        try:
            self._until_done(self._expire_lease)
            self._until_done(self._expire_deadline)
            with self._database.transaction() as db:
                queues = self._repair(db) if _is_ours(db) else []
        except DATABASE_ERRORS as error:
            log.warning("the database does not answer: %s", error)
            self._spare_until = time.monotonic() + self._settings.lease_seconds
            return
        for queue in queues:
            self._waker.wake(queue)

    def run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                self.tick()
            except Exception:  # a defect in one tick must not end the next
                log.exception("a tick failed")
            stopping.wait(self._settings.reaper_interval_seconds)

    def _until_done(self, end_one: Callable[[Session], bool]) -> None:
        """Ends jobs, each in a transaction of its own: with the rows of several locked, it must not
        wait for those of jobs that wait for them."""
        more = True
        while more:
            with self._database.transaction() as db:
                more = _is_ours(db) and end_one(db)

    def _expire_lease(self, db: Session) -> bool:
        if time.monotonic() < self._spare_until:
            return False
        ended = expire_lease(db, max_crashes=self._settings.max_crashes_without_progress)
        if ended is not None:
            log.warning("job %s: its lease ran out; it is %s now", *ended)
        return ended is not None

    def _expire_deadline(self, db: Session) -> bool:
        job_id = expire_deadline(db)
        if job_id is not None:
            log.info("job %s: its deadline passed while it waited", job_id)
        return job_id is not None

    def _repair(self, db: Session) -> list[str]:
        settings = self._settings
        live = settings.lease_seconds
        leave_dead_gpus(db, live_seconds=live)
        for job_id in make_room(db, live_seconds=live, defaults=default_quota(settings)):
            log.info("job %s: gives its slot up to one of higher priority", job_id)
        delete_expired(db, timedelta(hours=settings.idempotency_hours))
        beat(db, REAPER)
        return waiting_queues(db, live_seconds=live)


def _is_ours(db: Session) -> bool:
    return bool(db.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": LOCK}))


def main() -> None:
    settings = Settings()
    configure_logging(settings.log_level)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, lambda *_: stopping.set())
    database = Database(make_engine(settings))
    waker = Waker(settings.redis_url.get_secret_value())
    artifacts = ArtifactStore(settings.artifact_dir)
    interval = settings.reaper_interval_seconds
    for name, look, seconds in (
        ("sweeps", Controller(settings, database, artifacts, waker).tick, interval),
        ("schedules", Scheduler(settings, database, artifacts, waker).tick, interval),
        ("cleaning", Cleaner(settings, database).tick, CLEAN_SECONDS),
    ):
        Rounds(name, look, stopping, seconds).start()
    Reaper(settings, database, waker).run(stopping)
    waker.close()
    database.close()


if __name__ == "__main__":
    main()
