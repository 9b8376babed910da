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
from benchmarks.serving.sessions import NO_SESSIONS, TEXT, begun, text_of
from service.embedded.folders import runtime_folder
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.redis import EmbeddedRedis

SESSIONS, LENGTH = 50, 1_000
START_SECONDS = 60.0
WORK, BOTH = f"{SESSIONS} sessions with {LENGTH:,} tokens read", "Two replicas"


def replicas(bench: Bench) -> list[Row]:
    """Every session is compared with one that a single replica has had from its beginning."""
    table = Table()
    if ours(bench.service, "/sessions").ask({}).status_code == 404:
        table.miss([WORK], BOTH, NO_SESSIONS)
        return table.rows()
    with replica(bench) as (first, killed), replica(bench) as (second, _):
        texts = [text_of(bench, LENGTH, seed) for seed in range(SESSIONS)]
        moved = [begun(first, TEXT, text) for text in texts]
        alone = [begun(second, TEXT, text) for text in texts]
        taken: list[float] = []
        here = [_step(first, session, 2) for session in moved]
        there = [_step(second, session, 3, taken) for session in moved]
        killed.kill()
        killed.wait()
        after = [_step(second, session, 4) for session in moved]
        wanted = [[_step(second, session, seq) for seq in (2, 3, 4)] for session in alone]
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
        "REPRISE_LOG_LEVEL": "ERROR",
    }
    command = [sys.executable, "-m", "service.serve"]
    process = subprocess.Popen(command, env=environment, cwd=ROOT)
    there = ours(bench.service, "/sessions")
    endpoint = Endpoint("127.0.0.1", port, there.path, there.marker, process.pid, there.headers)
    try:
        _wait(f"http://127.0.0.1:{port}/ready")
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
    """The result of a step; None where there was none."""
    start = time.perf_counter()
    answer = endpoint.below(f"/{session}/steps").ask({"seq": seq, **TEXT.step("abcde"[seq])})
    if taken is not None:
        taken.append(time.perf_counter() - start)
    if answer.status_code != 200:
        return None
    result: dict[str, Any] = answer.json()["result"]
    return result
