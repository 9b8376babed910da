"""The service as the benchmarks use it: over HTTP, like anybody else."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

IDLE_SECONDS = 6  # in which a worker gets its next trainer ready


@dataclass
class Run:
    """What one job showed."""

    name: str
    job: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    first_answer: float = 0.0  # seconds since 1970
    figures: dict[str, float] = field(default_factory=dict)

    def measurements(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind of measurement, such as "step", as they came."""
        return [
            event
            for event in self.events
            if event["type"] == "metrics" and event["data"]["kind"] == kind
        ]

    @property
    def seconds(self) -> float:
        """From the submission to the end."""
        return moment(self.job["finished_at"]) - moment(self.job["created_at"])


class Service:
    """At an address; where it is our own, with its folder and the process that started it."""

    def __init__(self, url: str, key: str, folder: Path | None = None, pid: int = 0) -> None:
        self.folder, self.pid = folder, pid
        self.http = httpx.Client(
            base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=300
        )

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.http.post(path, json=body)
        if answer.is_error:
            sys.exit(f"{path}: {answer.status_code} {answer.text[:500]}")
        found: dict[str, Any] = answer.json()
        return found

    def upload(self, name: str, content: bytes) -> str:
        answer = self.http.post("/datasets", files={"file": (name, content)})
        if answer.is_error:
            sys.exit(f"{name}: {answer.status_code} {answer.text[:500]}")
        return str(answer.json()["id"])

    def train(self, run: Run, dataset: str, task: str, **choices: Any) -> None:
        """Submits with task and data set, and what is chosen beside them, and follows the job to
        its end."""
        time.sleep(IDLE_SECONDS)
        job = self.post("/jobs", task=task, dataset=dataset, model=run.name, **choices)
        for event in self.follow(job["id"]):
            run.events.append(event)
            if event["type"] == "metrics":
                shown = f"{run.name}: {json.dumps(event['data'])[:150]:150}"
                print(f"\r{shown}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        run.job = self.http.get(f"/jobs/{job['id']}").json()
        if run.job["state"] != "succeeded":
            sys.exit(f"{run.name}: {run.job['state']}: {run.job['error']}")

    def follow(self, job_id: str) -> Iterator[dict[str, Any]]:
        path, headers = f"/jobs/{job_id}/events", {"Accept": "text/event-stream"}
        with self.http.stream("GET", path, headers=headers) as lines:
            for line in lines.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line[5:])

    def version(self, run: Run) -> dict[str, Any]:
        """What a job published."""
        found: dict[str, Any] = self.http.get(
            f"/models/{run.job['model']}/versions/{run.job['version']}"
        ).json()
        return found


@contextmanager
def own_service(*, workers: int = 1, **environment: str) -> Iterator[Service]:
    """A service on a free port, in a folder that is thrown away; `workers` jobs train at a time."""
    with tempfile.TemporaryDirectory(prefix="reprise-benchmark-", dir="/tmp") as folder:
        command = [sys.executable, "-m", "service.cli", "up", "--data", folder, "--port", "0"]
        command += ["--workers", str(workers)]
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            printed = ""
            for line in process.stdout:
                printed += line
                if "is ready at" in line:
                    break
            url, key = re.search(r"http://\S+", printed), re.search(r"rp_\w+", printed)
            if url is None or key is None:
                raise RuntimeError(f"the service did not start:\n{printed}")
            yield Service(url.group(), key.group(), Path(folder), process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@contextmanager
def service_at(url: str | None, *, workers: int = 1) -> Iterator[Service]:
    """The service at an address, with the key in REPRISE_API_KEY; without one, our own."""
    if url is None:
        with own_service(workers=workers) as service:
            yield service
    else:
        yield Service(url, os.environ["REPRISE_API_KEY"])


def json_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """An upload with one row a line."""
    return "\n".join(json.dumps(row) for row in rows).encode()


def moment(text: str) -> float:
    """Seconds since 1970 of a time in an answer."""
    return datetime.fromisoformat(text).timestamp()
