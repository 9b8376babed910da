"""Two replicas of the API on one database, Redis and folder: what one began the other goes on with,
also when the first is killed."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from benchmarks.serving.bench import Bench, Table
from benchmarks.serving.candidates import Endpoint, free_port, ours
from benchmarks.serving.load import ROOT, Times
from benchmarks.serving.rows import Row
from benchmarks.serving.sessions import begun, history, step
from service.embedded.folders import runtime_folder
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.redis import EmbeddedRedis

SESSIONS, LENGTH = 50, 1_000
START_SECONDS = 60.0
WORK, BOTH = f"{SESSIONS} sessions with {LENGTH:,} tokens read", "Two replicas"
ABOUT_ITSELF = ("id", "session", "expires_at", "created_at")  # differ between equal sessions


def replicas(bench: Bench) -> list[Row]:
    """Every session is compared with one that a single replica has had from its beginning."""
    table = Table()
    with replica(bench) as (first, killed), replica(bench) as (second, _):
        texts = [history(bench, LENGTH, seed) for seed in range(SESSIONS)]
        moved = [begun(first, text) for text in texts]
        alone = [begun(second, text) for text in texts]
        taken: list[float] = []
        here = [_step(first, session, 1) for session in moved]
        there = [_step(second, session, 2, taken) for session in moved]
        killed.kill()
        killed.wait()
        after = [_step(second, session, 3) for session in moved]
        wanted = [[_step(second, session, seq) for seq in (1, 2, 3)] for session in alone]
        found = list(zip(here, there, after, strict=True))
        times = Times.of(taken)
        assert times is not None
        table.add(
            WORK,
            BOTH,
            {
                "sessions": SESSIONS,
                "went on": sum(answer is not None for answer in there),
                "as alone": sum(
                    list(answers) == others for answers, others in zip(found, wanted, strict=True)
                ),
                "went on after the kill": sum(answer is not None for answer in after),
                "p50 ms": times.p50,
                "p99 ms": times.p99,
            },
        )
    return table.rows()


@contextmanager
def replica(bench: Bench) -> Iterator[tuple[Endpoint, "subprocess.Popen[bytes]"]]:
    """One more API process of the service that runs: where its sessions are, and the process."""
    folder = bench.service.folder
    assert folder is not None, "a service of our own"
    runtime, port = runtime_folder(folder), free_port()
    environment = {
        **os.environ,
        "REPRISE_DATABASE_URL": EmbeddedPostgres(folder, runtime).url(),
        "REPRISE_REDIS_URL": EmbeddedRedis(folder, runtime).url,
        "REPRISE_ARTIFACT_DIR": str(folder / "artifacts"),
        "REPRISE_PORT": str(port),
    }
    command = [sys.executable, "-m", "service.serve"]
    process = subprocess.Popen(command, env=environment, cwd=ROOT)
    there = ours(bench.service, "/sessions")
    endpoint = Endpoint("127.0.0.1", port, there.path, there.marker, there.headers)
    try:
        _wait(f"http://127.0.0.1:{port}/api/v1/ready")
        yield endpoint, process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


def _wait(url: str) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url).status_code == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"{url} did not answer in {START_SECONDS:.0f} s")


def _step(
    endpoint: Endpoint, session: str, seq: int, taken: list[float] | None = None
) -> dict[str, Any] | None:
    """What a step answered about the text; None where it did not."""
    path = f"{endpoint.url}/{session}/steps"
    start = time.perf_counter()
    answer = httpx.post(path, json=step(seq, "abc"[seq - 1]), headers=endpoint.headers, timeout=30)
    if taken is not None:
        taken.append(time.perf_counter() - start)
    if answer.status_code != 200:
        return None
    return {name: value for name, value in answer.json().items() if name not in ABOUT_ITSELF}
