"""A workspace with a data set, and schedules that train on it."""

from collections.abc import Callable
from functools import partial
from uuid import UUID

import pytest

from service.artifacts.store import ArtifactStore
from service.db.engine import Database
from service.db.tables import Dataset, Schedule
from service.settings import Settings
from tests import schedule_records
from tests.job_records import make_workspace

MakeSchedule = Callable[..., Schedule]


@pytest.fixture
def artifacts(settings: Settings) -> ArtifactStore:
    artifacts = ArtifactStore(settings.artifact_dir)
    artifacts.prepare()
    return artifacts


@pytest.fixture
def workspace_id(database: Database) -> UUID:
    with database.transaction() as db:
        return make_workspace(db).id


@pytest.fixture
def dataset(database: Database, artifacts: ArtifactStore, workspace_id: UUID) -> Dataset:
    return schedule_records.keep_dataset(database, artifacts, workspace_id)


@pytest.fixture
def make_schedule(database: Database, dataset: Dataset) -> MakeSchedule:
    return partial(schedule_records.make_schedule, database, dataset)
