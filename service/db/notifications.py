"""News from PostgreSQL: sent in a transaction, delivered after its commit, never the truth.

A listener that misses one (a lost connection, a restart) reads the rows again: `on_gap` is called
after every reconnect.
"""

import json
import logging
import os
import select
import threading
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import text
from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

JOB_EVENTS = "reprise_job_events"  # {"job_id": str, "workspace_id": str, "seq": int}
# {"artifact_path": str, "artifact_sha256": str}, with "number": str where an answer is awaited;
# {"unused_sha256": str} where no alias stands for it any more; {} where models are gone
MODEL_VERSIONS = "reprise_model_versions"
VERSIONS_LOADED = "reprise_versions_loaded"  # {"number": str}
LISTENER = "reprise listener"  # what PostgreSQL calls the connection of one
RETRY_SECONDS = 1.0


def connection_string(database_url: str) -> str:
    """Of a setting, as psycopg takes it."""
    return database_url.replace("postgresql+psycopg://", "postgresql://", 1)


def notify(db: Session, channel: str, payload: Mapping[str, Any]) -> None:
    """Sends `payload` on `channel` when the transaction of `db` commits."""
    db.execute(
        text("SELECT pg_notify(:channel, :payload)"),
        {"channel": channel, "payload": json.dumps(payload)},
    )


def notify_of_job(db: Session, job_id: UUID, seq: int) -> None:
    """Says on `JOB_EVENTS`, when the transaction commits, that a job has events up to `seq`."""
    db.execute(
        text(
            "SELECT pg_notify(:channel, json_build_object('job_id', id, 'workspace_id',"
            " workspace_id, 'seq', CAST(:seq AS bigint))::text) FROM jobs WHERE id = :job_id"
        ),
        {"channel": JOB_EVENTS, "seq": seq, "job_id": job_id},
    )


class Listener:
    """A thread with one connection that hands every notification to `on_news`.

    Both callables run on the listener's thread: hand over to an event loop with
    `call_soon_threadsafe`.
    """

    def __init__(
        self,
        database_url: str,
        channels: tuple[str, ...],
        on_news: Callable[[str, dict[str, Any]], None],
        on_gap: Callable[[], None],
    ) -> None:
        self._conninfo = connection_string(database_url)
        self._channels = channels
        self._on_news = on_news
        self._on_gap = on_gap
        self._stopping = threading.Event()

    def start(self) -> None:
        woken, self._waking = os.pipe()
        self._thread = threading.Thread(
            target=self._run, args=(woken,), name="pg-listener", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Once, after the start."""
        self._stopping.set()
        os.close(self._waking)
        self._thread.join(timeout=5)

    def _run(self, woken: int) -> None:
        while not self._stopping.is_set():
            try:
                self._listen(woken)
            except psycopg.Error as error:
                log.warning("lost the listening connection: %s", error)
                self._stopping.wait(RETRY_SECONDS)
        os.close(woken)

    def _listen(self, woken: int) -> None:
        with psycopg.connect(
            self._conninfo, autocommit=True, connect_timeout=5, application_name=LISTENER
        ) as connection:
            for channel in self._channels:
                connection.execute(f"LISTEN {channel}".encode())
            self._on_gap()
            poll = select.poll()
            poll.register(connection, select.POLLIN)
            poll.register(woken)  # hung up by `stop`
            while not self._stopping.is_set():
                for news in connection.notifies(timeout=0):
                    self._on_news(news.channel, json.loads(news.payload))
                poll.poll()
