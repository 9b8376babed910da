"""Clients that hang up at any moment leave nothing behind in the database."""

import json
import random
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
from sqlalchemy import text

from service.auth.store import create_key, ensure_workspace
from service.auth.subjects import ALL_SCOPES
from service.db.engine import Database
from service.settings import Settings
from tests.integration.machine import SERIES
from tests.integration.test_engine_http import serving, until

ABORTS = 1_000
AT_ONCE = 8
RESET = struct.pack("ii", 1, 0)  # closing sends a reset, as when the client's process is killed


def test_aborted_requests_leave_no_session_idle_in_transaction(
    settings: Settings, database: Database
) -> None:
    with database.transaction() as db:
        _, key = create_key(db, ensure_workspace(db, "default").id, "test", ALL_SCOPES)
    dice = random.Random(1)
    authorized = {"Authorization": f"Bearer {key}"}
    with serving(settings) as (address, _), httpx.Client(headers=authorized, timeout=60) as http:
        dataset = http.post(f"{address}/datasets", files={"file": ("series.csv", SERIES)}).json()
        job = {"task": "time-series-forecasting", "dataset": dataset["id"]}
        first = http.post(f"{address}/jobs", json=job).json()["id"]
        requests = [
            request(address, key, "POST", "/jobs", job),
            request(address, key, "GET", f"/jobs/{first}"),
            request(address, key, "GET", f"/jobs/{first}/events", accept="text/event-stream"),
            request(address, key, "GET", "/jobs"),
            request(address, key, "GET", "/models"),
        ]
        with ThreadPoolExecutor(AT_ONCE) as clients:
            for _ in range(ABORTS):
                clients.submit(abort, address, dice.choice(requests), dice.uniform(0, 0.1))
        until(lambda: sessions(database, "active") == 0, 60)  # those that were not yet carried out
        assert http.get(f"{address}/jobs").json()["has_more"]  # and many were
        with ThreadPoolExecutor(2 * settings.database_pool_size) as clients:
            read = [clients.submit(http.get, f"{address}/jobs/{first}") for _ in range(100)]
        assert {answer.result().status_code for answer in read} == {200}
        until(lambda: sessions(database, "idle in transaction") == 0)


def request(
    address: str, key: str, method: str, path: str, body: object = None, accept: str = "*/*"
) -> bytes:
    parts = urlsplit(address)
    content = b"" if body is None else json.dumps(body).encode()
    lines = [
        f"{method} {parts.path}{path} HTTP/1.1",
        f"Host: {parts.netloc}",
        f"Authorization: Bearer {key}",
        f"Accept: {accept}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def abort(address: str, content: bytes, wait_seconds: float) -> None:
    """Sends a request and hangs up after a moment, whatever has come of it."""
    host, port = urlsplit(address).hostname, urlsplit(address).port
    with socket.create_connection((str(host), int(port or 0))) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.sendall(content)
        threading.Event().wait(wait_seconds)


def sessions(database: Database, state: str) -> int:
    """Others than this one, of this database."""
    count = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND state = :state"
    )
    with database.transaction() as db:
        return int(db.scalar(count, {"state": state}) or 0)
