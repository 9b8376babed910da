"""A job's event stream through a real server: live, patient, and without holding anything."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from service.api import job_stream
from service.auth.store import create_key
from service.auth.subjects import Scope
from service.db.engine import Database
from service.jobs import endings, store
from service.jobs.progress import record_progress
from service.jobs.transitions import Attempt, NewEvent
from service.settings import Settings
from tests.integration.machine import environment
from tests.integration.test_engine_http import serving, until
from tests.job_records import make_dataset, make_job, make_workspace, take


class Follower:
    """A client that reads a stream in a thread of its own."""

    def __init__(self, base: str, job_id: UUID, key: str, last_event_id: int | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}", "Accept": "text/event-stream"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = str(last_event_id)
        self.events: list[tuple[int, float, str]] = []  # seq, seconds when it came, type
        self.comments = 0
        self.over = threading.Event()
        self._client = httpx.Client(timeout=30)
        request = self._client.build_request("GET", f"{base}/jobs/{job_id}/events", headers=headers)
        self._response = self._client.send(request, stream=True)
        assert self._response.status_code == 200
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        type_ = ""
        try:
            for line in self._response.iter_lines():
                if line.startswith("event: "):
                    type_ = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    seq = json.loads(line.removeprefix("data: "))["seq"]
                    self.events.append((seq, time.monotonic(), type_))
                elif line.startswith(":"):
                    self.comments += 1
        except (httpx.HTTPError, httpx.StreamError):
            pass
        self.over.set()

    @property
    def seqs(self) -> list[int]:
        return [seq for seq, _, _ in self.events]

    def leave(self) -> None:
        """Cuts the connection, as a closed browser does."""
        stream = self._response.extensions["network_stream"]
        with suppress(OSError):  # the server was faster
            stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)  # the thread reads from it
        self._response.close()
        self._client.close()
        self._thread.join()


@contextmanager
def running_job(database: Database) -> Iterator[tuple[Attempt, str]]:
    with database.transaction() as db:
        workspace = make_workspace(db)
        make_job(db, make_dataset(db, workspace.id))
        attempt = take(db, lease_seconds=600).attempt
        _, key = create_key(db, workspace.id, "test", [Scope.JOBS_READ])
    yield attempt, key


def report(database: Database, attempt: Attempt, step: int) -> float:
    """Writes one event; returns when it was committed."""
    with database.transaction() as db:
        events = [NewEvent("metrics", {"kind": "step", "step": step})]
        record_progress(db, attempt, progress={"step": step}, metrics=None, events=events)
    return time.monotonic()


def subscriptions(app: FastAPI) -> int:
    return sum(len(bells) for bells in app.state.services.news._bells.values())


def test_events_come_as_they_happen_and_the_end_ends_the_stream(
    settings: Settings, database: Database
) -> None:
    with serving(settings) as (base, app), running_job(database) as (attempt, key):
        follower = Follower(base, attempt.job_id, key)
        until(lambda: follower.seqs == [1, 2])
        committed = [report(database, attempt, step) for step in range(3)]
        until(lambda: len(follower.events) == 5)
        came = [moment for _, moment, _ in follower.events[2:]]
        # by news: it does not look by itself so often
        assert max(b - a for a, b in zip(committed, came, strict=True)) < job_stream.LOOK_SECONDS
        # It reads once more after the last event; while it waits it holds no connection.
        until(lambda: app.state.services.database.engine.pool.checkedout() == 0)
        with database.transaction() as db:
            endings.fail(db, attempt, "diverged", "nan")
        assert follower.over.wait(5)
        assert follower.seqs == [1, 2, 3, 4, 5, 6]
        until(lambda: subscriptions(app) == 0)
        follower.leave()


def test_a_client_comes_back_with_its_last_event_id(settings: Settings, database: Database) -> None:
    with serving(settings) as (base, _), running_job(database) as (attempt, key):
        for step in range(5):
            report(database, attempt, step)
        follower = Follower(base, attempt.job_id, key, last_event_id=4)
        until(lambda: follower.seqs == [5, 6, 7])
        follower.leave()


def test_a_client_that_left_is_noticed(settings: Settings, database: Database) -> None:
    with serving(settings) as (base, app), running_job(database) as (attempt, key):
        followers = [Follower(base, attempt.job_id, key) for _ in range(5)]
        until(lambda: subscriptions(app) == 5)
        for follower in followers:
            follower.leave()
        assert until(lambda: subscriptions(app) == 0) < 2


def test_the_stream_outlives_the_connections_to_the_database(
    settings: Settings, database: Database
) -> None:
    """As a restart of PostgreSQL cuts them: the listener's and the pool's."""
    with serving(settings) as (base, _), running_job(database) as (attempt, key):
        follower = Follower(base, attempt.job_id, key)
        until(lambda: follower.seqs == [1, 2])
        with database.engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        database.engine.dispose()
        report(database, attempt, 1)
        until(lambda: follower.seqs == [1, 2, 3])
        follower.leave()


def test_a_waiting_client_hears_that_the_server_is_there(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_stream, "LOOK_SECONDS", 0.1)
    with serving(settings) as (base, _), running_job(database) as (attempt, key):
        follower = Follower(base, attempt.job_id, key)
        until(lambda: follower.comments >= 4)
        assert follower.seqs == [1, 2]
        follower.leave()


def test_events_missed_by_the_listener_are_read_anyway(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_stream, "LOOK_SECONDS", 0.2)
    with serving(settings) as (base, app), running_job(database) as (attempt, key):
        follower = Follower(base, attempt.job_id, key)
        until(lambda: follower.seqs == [1, 2])
        monkeypatch.setattr(app.state.services.news, "_ring", lambda _: None)
        report(database, attempt, 1)
        until(lambda: follower.seqs == [1, 2, 3])
        follower.leave()


def test_a_cancelled_job_in_the_queue_ends_its_stream(
    settings: Settings, database: Database
) -> None:
    with serving(settings) as (base, _):
        with database.transaction() as db:
            workspace = make_workspace(db)
            job = make_job(db, make_dataset(db, workspace.id))
            _, key = create_key(db, workspace.id, "test", [Scope.JOBS_READ])
        follower = Follower(base, job.id, key)
        with database.transaction() as db:
            store.request_cancel(db, workspace.id, job.id)
        assert follower.over.wait(5)
        assert follower.seqs == [1, 2]
        follower.leave()


def test_a_stopping_server_ends_its_streams_whole(settings: Settings, database: Database) -> None:
    """A follower used to be cut off in the middle, after the whole time for answers in flight."""
    with database.transaction() as db:
        workspace = make_workspace(db)
        job_id = make_job(db, make_dataset(db, workspace.id)).id
        _, key = create_key(db, workspace.id, "reader", [Scope.JOBS_READ])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        descriptor = listening.fileno()
        server = subprocess.Popen(
            [sys.executable, "-m", "service.serve", "--socket", str(descriptor)],
            env={**os.environ, **environment(settings)},
            pass_fds=(descriptor,),
        )
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/api/v1/jobs/{job_id}/events"
            headers = {"Authorization": f"Bearer {key}", "Accept": "text/event-stream"}
            with httpx.stream("GET", url, headers=headers, timeout=60) as response:
                for line in response.iter_lines():  # a stream that is cut raises at its end
                    if line.startswith(":"):
                        server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
        finally:
            server.kill()
            server.wait()
