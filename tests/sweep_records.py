"""Sweeps whose trials the test itself works on, by hand."""

import hashlib
import json
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select

from service.artifacts.store import ArtifactStore
from service.datasets.limits import Limits
from service.datasets.profile import profile_file
from service.db.engine import Database
from service.db.tables import Dataset, Job, JobAttempt, ModelVersion, Sweep
from service.jobs import endings
from service.jobs.endings import Trained
from service.jobs.progress import record_progress
from service.jobs.transitions import Attempt, NewEvent
from service.jobs.wake import Waker
from service.settings import Settings
from service.sweeps import store
from service.sweeps.controller import Controller
from service.sweeps.requests import SweepRequest
from service.sweeps.store import SweepRow
from service.sweeps.submission import submit_sweep
from tests.job_records import look_for_work, make_workspace, take

SERIES = "y\n" + "\n".join(str(10 + (i % 4) + i / 50) for i in range(120)) + "\n"
RATE = "training.learning_rate"
SPACE: dict[str, Any] = {
    RATE: {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
    "architecture.cell": {"type": "categorical", "choices": ["lstm", "gru"]},
}
GRID: dict[str, Any] = {"architecture.num_layers": {"type": "int", "low": 1, "high": 3}}


class Wakes(Waker):
    """Remembers the queues that were woken."""

    def __init__(self) -> None:
        self.queues: list[str] = []

    def wake(self, queue: str, *, passes: int = 0) -> bool:  # noqa: ARG002
        self.queues.append(queue)
        return True


class Bench:
    """A database with a workspace and a data set in it, and a controller without its loop."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.database = database
        self.artifacts = ArtifactStore(settings.artifact_dir)
        self.artifacts.prepare()
        self.wakes = Wakes()
        self.controller = self.make_controller()
        with database.transaction() as db:
            self.workspace_id = make_workspace(db).id
        self.dataset_id = self.add_dataset(SERIES)

    def make_controller(self) -> Controller:
        return Controller(self.settings, self.database, self.artifacts, self.wakes)

    def add_dataset(self, content: str, filename: str = "series.csv") -> UUID:
        data = content.encode()
        digest = hashlib.sha256(data).hexdigest()
        path = self.artifacts.dataset_path(digest)
        path.write_bytes(data)
        profile = profile_file(path, filename, Limits())
        with self.database.transaction() as db:
            dataset = Dataset(
                workspace_id=self.workspace_id,
                name=filename,
                format=profile["format"],
                size_bytes=len(data),
                sha256=digest,
                profile=profile,
            )
            db.add(dataset)
            db.flush()
            return dataset.id

    def submit(self, job: dict[str, Any] | None = None, **changes: Any) -> UUID:
        """A sweep over `SPACE` of four trials, two at a time."""
        body = {
            "job": {
                "task": "time-series-forecasting",
                "dataset": str(self.dataset_id),
                "model": "demand",
                **(job or {}),
            },
            "space": SPACE,
            "max_trials": 4,
            "parallel": 2,
            **changes,
        }
        return submit_sweep(
            self.database,
            self.artifacts,
            self.settings,
            self.workspace_id,
            None,
            SweepRequest.model_validate_json(json.dumps(body)),
        )

    def tick(self) -> None:
        self.controller.tick()

    def row(self, sweep_id: UUID) -> SweepRow:
        with self.database.transaction() as db:
            return store.get(db, self.workspace_id, sweep_id)

    def trials(self, sweep_id: UUID) -> list[Job]:
        with self.database.transaction() as db:
            query = select(Job).where(Job.sweep_id == sweep_id).order_by(Job.trial)
            return list(db.scalars(query))

    def states(self, sweep_id: UUID) -> list[str]:
        return [job.state for job in self.trials(sweep_id)]

    def versions(self) -> list[ModelVersion]:
        with self.database.transaction() as db:
            return list(db.scalars(select(ModelVersion).order_by(ModelVersion.version)))

    def attempts(self) -> list[JobAttempt]:
        with self.database.transaction() as db:
            return list(db.scalars(select(JobAttempt)))

    def told(self, sweep_id: UUID) -> int:
        """Grows with every step that the controller makes."""
        return sum(1 + (job.told_seq or 0) for job in self.trials(sweep_id))

    def change(self, sweep_id: UUID, **values: Any) -> None:
        with self.database.transaction() as db:
            sweep = db.get_one(Sweep, sweep_id)
            for name, value in values.items():
                setattr(sweep, name, value)

    # A worker's part

    def begin(self) -> Attempt:
        """Claims the next job, which must be there."""
        with self.database.transaction() as db:
            return take(db).attempt

    def begin_if_any(self) -> Attempt | None:
        with self.database.transaction() as db:
            claimed = look_for_work(db)
            return claimed and claimed.attempt

    def evaluate(self, attempt: Attempt, *losses: float, first: int = 1) -> None:
        """One evaluation after each epoch, from the `first` on."""
        for epoch, loss in enumerate(losses, first):
            metrics = {"loss": loss}
            data = {"kind": "evaluation", "step": 10 * epoch, "epoch": epoch, "metrics": metrics}
            with self.database.transaction() as db:
                record_progress(
                    db,
                    attempt,
                    progress={"step": 10 * epoch, "total_steps": 100},
                    metrics=metrics,
                    events=[NewEvent("metrics", data)],
                )

    def finish(self, attempt: Attempt, loss: float | None) -> Path:
        """Ends the attempt with a network on disk, whose folder is returned."""
        folder = self.artifacts.model_dir(attempt.job_id, attempt.number)
        folder.mkdir(parents=True)
        (folder / "weights").write_text(str(loss))
        path = self.artifacts.relative(folder)
        trained = Trained(path, "a" * 64, {"loss": loss}, 7, {"step": 100})
        with self.database.transaction() as db:
            endings.finish(db, attempt, trained, code_version="reprise 1")
        return folder

    def fail(self, attempt: Attempt, detail: str = "the loss was nan") -> None:
        with self.database.transaction() as db:
            endings.fail(db, attempt, "diverged", detail)

    def stop(self, attempt: Attempt) -> None:
        """Ends an attempt whose worker was asked to stop."""
        with self.database.transaction() as db:
            endings.release(db, attempt)
