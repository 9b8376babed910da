"""Who serves: the service, and peers that are started for their turn and stopped after it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from benchmarks.service import Service
from benchmarks.serving.environment import PEERS as SCRIPTS
from benchmarks.serving.watch import pinned

OURS = "Reprise"
START_SECONDS, STOP_SECONDS = 120.0, 15.0
# Nothing is told to anybody, and nothing but errors to the log.
QUIET = {
    "BENTOML_DO_NOT_TRACK": "True",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONWARNINGS": "ignore",
}
PEER_MARKER, OUR_MARKER = "data:", "event: token"


class NotServingError(Exception):
    """A peer that does not answer as it should; the reason is for its row."""


def as_chosen(precision: str) -> str:
    """What serves in the precision that it was published with by itself."""
    return f"{OURS}, {precision} as it chose"


@dataclass(frozen=True)
class Peer:
    """A script of `peers/` and where it answers."""

    title: str
    script: str
    path: str
    tasks: tuple[str, ...]
    packages: tuple[str, ...]

    def command(self, python: Path, port: int) -> list[str]:
        if self.script.startswith("bentoml"):
            target = f"{self.script.removesuffix('.py')}:Front"
            serve = ["-m", "bentoml", "serve", target, "--working-dir", str(SCRIPTS)]
            return [str(python), *serve, "--host", "127.0.0.1", "--port", str(port)]
        return [str(python), str(SCRIPTS / self.script)]


ANSWERED, STREAMED = ("sentiment", "forecasts"), ("generation", "words")
PEERS = {
    "mosec": Peer("mosec, batching", "mosec_server.py", "/inference", ANSWERED, ("mosec",)),
    "litserve": Peer(
        "LitServe, batching",
        "litserve_server.py",
        "/predict",
        (*ANSWERED, *STREAMED),
        ("litserve",),
    ),
    "ray": Peer("Ray Serve, batching", "ray_server.py", "/predict", ANSWERED, ("ray",)),
    "bentoml": Peer("BentoML, batching", "bentoml_server.py", "/predict", ANSWERED, ("bentoml",)),
    "fastapi": Peer(
        "FastAPI and torch",
        "fastapi_server.py",
        "/predict",
        (*ANSWERED, *STREAMED),
        ("fastapi", "uvicorn", "torch"),
    ),
    "onnx": Peer(
        "FastAPI and ONNX Runtime",
        "onnx_server.py",
        "/predict",
        ("sentiment", *STREAMED),
        ("onnxruntime",),
    ),
}


@dataclass(frozen=True)
class Endpoint:
    """Where a task is answered.

    Attributes:
        marker: what each event of a stream holds once.
        pid: of the process that started all of the server's.
    """

    host: str
    port: int
    path: str
    marker: str
    pid: int
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}{self.path}"

    def below(self, path: str) -> "Endpoint":
        """A route that begins as this one does."""
        return replace(self, path=f"{self.path}{path}")

    def ask(self, body: Any, timeout: float = 60.0) -> httpx.Response:
        return httpx.post(self.url, json=body, headers=self.headers, timeout=timeout)


def ours(service: Service, path: str) -> Endpoint:
    """A route of a service that runs."""
    base = urlsplit(str(service.http.base_url))
    assert base.hostname is not None
    assert base.port is not None
    return Endpoint(
        base.hostname,
        base.port,
        f"{base.path.rstrip('/')}{path}",
        OUR_MARKER,
        service.pid,
        {"Authorization": service.http.headers["Authorization"]},
    )


@contextmanager
def serving(
    peer: Peer,
    task: str,
    first: Any,
    *,
    python: Path,
    weights: Path,
    threads: int,
    cores: Sequence[int],
) -> Iterator[Endpoint]:
    """A peer that has answered its first request.

    Raises NotServingError where it ends or does not answer.
    """
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile("w+") as log,
    ):
        environment = {
            **os.environ,
            **QUIET,
            "PEER_TASK": task,
            "PEER_FOLDER": str(weights),
            "PEER_PORT": str(port),
            "PEER_THREADS": str(threads),
            "PYTHONPATH": str(SCRIPTS),
            "TMPDIR": folder,
            "BENTOML_HOME": folder,
        }
        with pinned(cores):
            process = subprocess.Popen(
                peer.command(python, port),
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=weights,
            )
        try:
            endpoint = Endpoint("127.0.0.1", port, peer.path, PEER_MARKER, process.pid)
            _wait(process, endpoint, first)
            yield endpoint
        except NotServingError as error:
            log.seek(0)
            raise NotServingError(f"{error} {_last_line(log.read())}".strip()) from None
        finally:
            stop(process)


def _wait(process: "subprocess.Popen[bytes]", endpoint: Endpoint, first: Any) -> None:
    until = time.monotonic() + START_SECONDS
    said = "no answer"
    while time.monotonic() < until:
        if process.poll() is not None:
            raise NotServingError(f"ended with {process.returncode}.")
        with contextlib.suppress(httpx.HTTPError):
            answer = endpoint.ask(first)
            if answer.status_code == 200:
                return
            said = f"status {answer.status_code}"
        time.sleep(0.2)
    raise NotServingError(f"{said} within {START_SECONDS:.0f} s.")


def stop(process: "subprocess.Popen[bytes]") -> None:
    """And whatever it started, which else would keep the port or the processor."""
    started: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        started = psutil.Process(process.pid).children(recursive=True)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    for child in started:
        with contextlib.suppress(psutil.Error):
            child.kill()
    process.kill()
    process.wait()
    psutil.wait_procs(started, timeout=STOP_SECONDS)


def free_port() -> int:
    """One that nobody listened on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def streamed(answer: httpx.Response) -> str:
    """The text of all events of a stream, ours or a peer's."""
    pieces = []
    for line in answer.text.splitlines():
        if line.startswith("data:"):
            pieces.append(json.loads(line[5:]).get("text", ""))
    return "".join(pieces)


def _last_line(log: str) -> str:
    lines = [line for line in log.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
