"""Makes data sets as if they had been uploaded, and schedules that train on them."""

import hashlib
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, update

from service.artifacts.store import ArtifactStore
from service.datasets.limits import Limits
from service.datasets.profile import profile_file
from service.datasets.store import create_dataset
from service.db.engine import Database
from service.db.tables import Dataset, Schedule
from service.schedules import store

FORECASTING = "time-series-forecasting"
SERIES = "y\n" + "\n".join(str(10 + i % 4) for i in range(120)) + "\n"


def keep_dataset(
    database: Database, artifacts: ArtifactStore, workspace_id: UUID, content: str = SERIES
) -> Dataset:
    digest = hashlib.sha256(content.encode()).hexdigest()
    path = artifacts.dataset_path(digest)
    path.write_text(content)
    with database.transaction() as db:
        return create_dataset(
            db,
            workspace_id,
            name="series",
            filename="series.csv",
            size_bytes=len(content),
            sha256=digest,
            profile=profile_file(path, "series.csv", Limits()),
        )


def make_schedule(
    database: Database, dataset: Dataset, *, due_seconds: float | None = 1.0, **changes: Any
) -> Schedule:
    """An hourly one that was due so long ago; None: it is not. `changes` replace arguments of
    `create`."""
    arguments: dict[str, Any] = {
        "name": "hourly",
        "cron": "0 * * * *",
        "timezone": "UTC",
        "job": {"task": FORECASTING, "dataset": str(dataset.id)},
        "enabled": True,
        "most": 1000,
    }
    with database.transaction() as db:
        made = store.create(db, dataset.workspace_id, None, **(arguments | changes))
    if due_seconds is not None:
        come_due(database, made.id, due_seconds)
    return reread(database, made.id)


def come_due(database: Database, schedule_id: UUID, seconds: float = 1.0) -> None:
    with database.transaction() as db:
        past = func.clock_timestamp() - timedelta(seconds=seconds)
        db.execute(update(Schedule).where(Schedule.id == schedule_id).values(next_run_at=past))


def reread(database: Database, schedule_id: UUID) -> Schedule:
    with database.transaction() as db:
        return db.get_one(Schedule, schedule_id)
