"""Runs the parts of the job machine as they run in production, on short times."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import psutil

from benchmarks.faults import scripted
from service.artifacts.store import ArtifactStore
from service.datasets.limits import Limits
from service.datasets.profile import profile_file
from service.db.engine import Database
from service.db.tables import Dataset, Job, JobEvent
from service.jobs.submission import fill_in
from service.jobs.wake import Waker
from service.registry.bases import find_base
from service.settings import Settings
from tests.job_records import events_of, make_job, make_workspace
from workers.reaper import Reaper

ROOT = Path(__file__).resolve().parents[2]
Value = TypeVar("Value")
SERIES = "y\n" + "\n".join(str(10 + (i % 4) + i / 50) for i in range(120)) + "\n"


def wait_for(read: Callable[[], Value], what: str, timeout_seconds: float = 20.0) -> Value:
    """Polls until `read` gives something true."""
    deadline = time.monotonic() + timeout_seconds
    while not (value := read()):
        assert time.monotonic() < deadline, f"not within {timeout_seconds:g} s: {what}"
        time.sleep(0.02)
    return value


class Machine:
    """A database and an artifact folder with jobs in them, and the processes that work on those."""

    def __init__(self, settings: Settings, database: Database, log_folder: Path) -> None:
        self.settings = settings
        self.database = database
        self.artifacts = ArtifactStore(settings.artifact_dir)
        self.waker = Waker(settings.redis_url.get_secret_value())
        self._log_folder = log_folder
        self._workers: list[subprocess.Popen[bytes]] = []
        self._workspace_id: UUID | None = None
        self.artifacts.prepare()

    # Jobs

    def submit(self, fate: int = scripted.FINE, *, steps: int = 10, **changes: Any) -> UUID:
        """A scripted job (`benchmarks.faults.scripted`)."""
        training = {"seed": fate, "max_steps": steps}
        return self.submit_config(
            {"task": "time-series-forecasting", "training": training}, SERIES, **changes
        )

    def submit_config(
        self,
        config: dict[str, Any],
        content: str,
        filename: str = "series.csv",
        *,
        base_model: str | None = None,
        **changes: Any,
    ) -> UUID:
        """A job as the API would queue it, without waking anybody."""
        with self.database.transaction() as db:
            if self._workspace_id is None:
                self._workspace_id = make_workspace(db).id
            dataset = self._dataset(self._workspace_id, content, filename)
            db.add(dataset)
            db.flush()
            parsed = scripted_config(config)
            path = self.artifacts.dataset_path(dataset.sha256)
            base = None
            if base_model is not None:
                base = find_base(db, self._workspace_id, base_model, parsed.task)
            resolved = fill_in(
                parsed,
                dataset,
                path,
                queue="cpu",
                max_parameters=10**9,
                base=base.config if base else None,
            ).config
            changes = {"base": base.record if base else None, **changes}
            job = make_job(db, dataset, config=resolved.model_dump(mode="json"), **changes)
            return job.id

    def _dataset(self, workspace_id: UUID, content: str, filename: str) -> Dataset:
        data = content.encode()
        digest = hashlib.sha256(data).hexdigest()
        path = self.artifacts.dataset_path(digest)
        path.write_bytes(data)
        profile = profile_file(path, filename, Limits())
        return Dataset(
            workspace_id=workspace_id,
            name="series",
            format=profile["format"],
            size_bytes=len(data),
            sha256=digest,
            profile=profile,
        )

    def job(self, job_id: UUID) -> Job:
        with self.database.transaction() as db:
            return db.get_one(Job, job_id)

    def events(self, job_id: UUID) -> list[JobEvent]:
        with self.database.transaction() as db:
            return events_of(db, job_id)

    def wait_state(self, job_id: UUID, *states: str, timeout_seconds: float = 20.0) -> Job:
        what = f"job in {' or '.join(states)}"
        try:
            wait_for(lambda: self.job(job_id).state in states, what, timeout_seconds)
        except AssertionError as late:
            logs = "\n".join(path.read_text() for path in self._log_folder.glob("worker-*.log"))
            raise AssertionError(f"{late}; it is {self.job(job_id).state}\n{logs}") from None
        return self.job(job_id)

    def wait_checkpoint(self, job_id: UUID, timeout_seconds: float = 20.0) -> int:
        """The step of the first recorded checkpoint."""
        job = wait_for(
            lambda: (job := self.job(job_id)).checkpoint and job, "a checkpoint", timeout_seconds
        )
        assert job.checkpoint is not None
        return int(job.checkpoint["step"])

    def state_file(self, path: str) -> str:
        return (self.artifacts.absolute(path) / "state.json").read_text()

    # Processes

    def start_worker(self, module: str = "benchmarks.faults.worker") -> subprocess.Popen[bytes]:
        number = len(self._workers)
        with (self._log_folder / f"worker-{number}.log").open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                env={**os.environ, **environment(self.settings)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._workers.append(worker)
        return worker

    def wait_warm(self, times: int, timeout_seconds: float = 60.0) -> None:
        """Until the first worker has had a warm trainer that often."""
        log = self._log_folder / "worker-0.log"
        wait_for(
            lambda: log.read_text().count(" is warm") >= times, "a warm trainer", timeout_seconds
        )

    @contextmanager
    def reaper(self) -> Iterator[Reaper]:
        stopping = threading.Event()
        reaper = Reaper(self.settings, self.database, self.waker)
        thread = threading.Thread(target=reaper.run, args=(stopping,))
        thread.start()
        try:
            yield reaper
        finally:
            stopping.set()
            thread.join()

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
            worker.wait()
        self.waker.close()


def scripted_config(config: dict[str, Any]) -> Any:
    from pydantic import TypeAdapter

    from rnn.config import TaskConfig

    adapter: TypeAdapter[Any] = TypeAdapter(TaskConfig)
    return adapter.validate_python(config)


def environment(settings: Settings) -> dict[str, str]:
    """The settings as a process reads them; defaults are left out."""
    given = settings.model_dump(exclude_unset=True)
    for name in ("database_url", "redis_url"):
        given[name] = getattr(settings, name).get_secret_value()
    return {f"REPRISE_{name.upper()}": str(value) for name, value in given.items()}


def trainers_of(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(worker.pid).children()
        if "workers.trainer" in child.cmdline()
    ]


def has_ended(process: psutil.Process) -> bool:
    """Not running: a zombie that nobody has waited for counts as ended."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
