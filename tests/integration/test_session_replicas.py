"""A session goes from one API process to another, and a killed one takes nothing along."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from service.artifacts.store import ArtifactStore
from service.auth.store import create_key, ensure_workspace
from service.auth.subjects import Scope
from service.db.engine import Database
from service.settings import Settings
from tests.integration.machine import environment
from tests.integration.test_engine_http import until
from tests.serving import CLASSIFICATION, FORECASTING, GENERATION, publish

STEPS: dict[str, list[dict[str, Any]]] = {
    FORECASTING: [{"values": [float(i), 2.0 * i], "horizon": 3} for i in range(6)],
    CLASSIFICATION: [{"text": text} for text in ("a wa", "rm and ", "love", "ly fi", "lm", "!")],
    GENERATION: [{"text": "the quick "}, *[{"max_new_tokens": 6, "temperature": 2.0}] * 5],
}


@contextmanager
def process(settings: Settings) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """An API process of its own, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        descriptor = listener.fileno()
        child = subprocess.Popen(
            [sys.executable, "-m", "service.serve", "--socket", str(descriptor)],
            env={**os.environ, **environment(settings)},
            pass_fds=[descriptor],
        )
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        until(lambda: is_ready(address), seconds=120)
        yield f"{address}/api/v1/sessions", child
    finally:
        child.kill()
        child.wait()


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_a_session_outlives_the_process_that_began_it(
    settings: Settings, database: Database, trained: Mapping[str, Path]
) -> None:
    """Steps on two processes by turns, one of them killed, equal those on one."""
    with database.transaction() as db:
        workspace = ensure_workspace(db, "default")
        _, key = create_key(db, workspace.id, "test", [Scope.PREDICT])
    artifacts = ArtifactStore(settings.artifact_dir)
    for task, folder in trained.items():
        publish(database, artifacts, workspace.id, task, task, folder)
    with (
        process(settings) as (first, dying),
        process(settings) as (second, _),
        httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=60) as client,
    ):

        def create(task: str) -> str:
            seed = {"seed": 4} if task == GENERATION else {}
            response = client.post(first, json={"model": task, **seed})
            assert response.status_code == 201, response.text
            return str(response.json()["id"])

        def step(address: str, task: str, session: str, seq: int) -> Any:
            body = {"seq": seq, **STEPS[task][seq - 1]}
            response = client.post(f"{address}/{session}/steps", json=body)
            assert response.status_code == 200, response.text
            return response.json()["result"]

        alone, moving, found = {}, {}, {}
        for task in STEPS:
            alone[task], moving[task] = create(task), create(task)
            found[task] = [
                step((first, second)[seq % 2], task, moving[task], seq) for seq in (1, 2, 3, 4)
            ]
        os.kill(dying.pid, signal.SIGKILL)
        dying.wait()
        for task in STEPS:
            assert step(second, task, moving[task], 4) == found[task][-1]
            found[task] += [step(second, task, moving[task], seq) for seq in (5, 6)]
            assert found[task] == [step(second, task, alone[task], seq) for seq in range(1, 7)]
