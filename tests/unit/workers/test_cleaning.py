"""What is removed once an hour, and what has to stay. Every file here is old enough to go."""

import logging
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, null, update

from service.artifacts.store import ArtifactStore
from service.db.engine import Database
from service.db.tables import Dataset, Job
from service.jobs import store
from service.jobs.endings import Trained, fail, finish
from service.jobs.states import JobState
from service.jobs.transitions import Attempt
from service.registry.starters import open_workspace
from service.registry.store import delete_model
from service.settings import Settings
from tests.job_records import make_dataset, make_job, make_workspace, reread, take
from workers.cleaning import STALE_SECONDS, Cleaner

CONTENT = b"y\n1\n"
DIGEST = sha256(CONTENT).hexdigest()


@pytest.fixture
def artifacts(settings: Settings) -> ArtifactStore:
    artifacts = ArtifactStore(settings.artifact_dir)
    artifacts.prepare()
    return artifacts


@pytest.fixture
def cleaner(settings: Settings, database: Database) -> Cleaner:
    return Cleaner(settings, database, stale_seconds=-1)


@pytest.fixture
def dataset(database: Database, artifacts: ArtifactStore) -> Dataset:
    artifacts.dataset_path(DIGEST).write_bytes(CONTENT)
    with database.transaction() as db:
        return make_dataset(db, make_workspace(db).id, CONTENT)


def running(database: Database, artifacts: ArtifactStore, dataset: Dataset, **more: object) -> Job:
    """It has written its network, and told nobody of it yet."""
    with database.transaction() as db:
        make_job(db, dataset, **more)
        job = take(db).job
    artifacts.model_dir(job.id, job.attempt).mkdir(parents=True)
    return job


def trained(artifacts: ArtifactStore, job: Job) -> Trained:
    return Trained(
        artifacts.relative(artifacts.model_dir(job.id, job.attempt)), "a" * 64, {}, 1, {}
    )


def test_checkpoints_of_a_job_that_ended_are_removed(
    cleaner: Cleaner, artifacts: ArtifactStore, database: Database, dataset: Dataset
) -> None:
    """A job that is cancelled while it waits has no worker that would remove them."""
    with database.transaction() as db:
        waiting, over = make_job(db, dataset), make_job(db, dataset)
        store.request_cancel(db, dataset.workspace_id, over.id)
        db.execute(update(Job).values(checkpoint={"step": 1}, attempt=2))
    for job in (waiting, over):
        for attempt in (1, 2):
            (artifacts.checkpoints_dir(job.id, attempt) / "step-1").mkdir(parents=True)
    cleaner.tick()
    assert artifacts.jobs_with_checkpoints() == [waiting.id]
    with database.transaction() as db:
        assert reread(db, waiting.id).checkpoint == {"step": 1}
        assert reread(db, over.id).checkpoint is None


def test_a_network_that_no_row_names_is_removed(
    cleaner: Cleaner, artifacts: ArtifactStore, database: Database, dataset: Dataset
) -> None:
    """The process that deleted the model died before it came to the files."""
    job = running(database, artifacts, dataset)
    folder = artifacts.model_dir(job.id, 1)
    cleaner.tick()
    assert folder.is_dir()  # it may still be told of
    with database.transaction() as db:
        finish(db, Attempt(job.id, 1), trained(artifacts, job), code_version="1")
    cleaner.tick()
    assert folder.is_dir()
    with database.transaction() as db:
        delete_model(db, dataset.workspace_id, job.model_name)
    cleaner.tick()
    assert not folder.exists()


def test_a_network_of_an_attempt_that_is_over_is_removed(
    cleaner: Cleaner, artifacts: ArtifactStore, database: Database, dataset: Dataset
) -> None:
    job = running(database, artifacts, dataset)
    with database.transaction() as db:
        db.execute(update(Job).values(attempt=2))
    artifacts.model_dir(job.id, 2).mkdir(parents=True)
    cleaner.tick()
    assert not artifacts.model_dir(job.id, 1).exists()
    assert artifacts.model_dir(job.id, 2).is_dir()


def test_what_a_trial_or_an_unfinished_job_needs_stays(
    cleaner: Cleaner, artifacts: ArtifactStore, database: Database, dataset: Dataset
) -> None:
    trial = running(database, artifacts, dataset)
    network = {"path": trained(artifacts, trial).artifact_path}
    with database.transaction() as db:
        fail(db, Attempt(trial.id, 1), "x", "x")
        db.execute(update(Job).values(trained=network))
    cleaner.tick()
    assert artifacts.model_dir(trial.id, 1).is_dir()
    with database.transaction() as db:
        make_job(db, dataset)
        db.execute(update(Job).where(Job.id == trial.id).values(trained=null()))
        db.execute(update(Job).where(Job.id != trial.id).values(base=network))
    cleaner.tick()
    assert artifacts.model_dir(trial.id, 1).is_dir()
    with database.transaction() as db:
        db.execute(update(Job).values(state=JobState.CANCELLED, finished_at=func.now()))
    cleaner.tick()
    assert not artifacts.model_dir(trial.id, 1).exists()


def test_starters_stay_until_they_are_deleted(
    cleaner: Cleaner, artifacts: ArtifactStore, database: Database
) -> None:
    with database.transaction() as db:
        workspace = open_workspace(db, lambda: artifacts, "new")
    cleaner.tick()
    starters = artifacts.root / "starters"
    assert len(list(starters.iterdir())) == 3
    with database.transaction() as db:
        delete_model(db, workspace.id, "starter-english")
    cleaner.tick()
    assert len(list(starters.iterdir())) == 2


def test_bytes_that_no_data_set_has_are_removed(
    cleaner: Cleaner, artifacts: ArtifactStore, database: Database, dataset: Dataset
) -> None:
    """Data sets of the same bytes share them."""
    with database.transaction() as db:
        other = make_dataset(db, make_workspace(db, "two").id, CONTENT)
    path = artifacts.dataset_path(DIGEST)
    for deleted, is_there in ((other, True), (dataset, False)):
        delete(database, deleted.id)
        cleaner.tick()
        assert path.exists() is is_there


def test_bytes_that_an_unfinished_job_reads_stay(
    cleaner: Cleaner, artifacts: ArtifactStore, database: Database, dataset: Dataset
) -> None:
    with database.transaction() as db:
        make_job(db, dataset)
    delete(database, dataset.id)
    cleaner.tick()
    assert artifacts.dataset_path(DIGEST).exists()
    with database.transaction() as db:
        db.execute(update(Job).values(state=JobState.CANCELLED, finished_at=func.now()))
    cleaner.tick()
    assert not artifacts.dataset_path(DIGEST).exists()


def test_what_is_new_stays(
    settings: Settings, artifacts: ArtifactStore, database: Database, dataset: Dataset
) -> None:
    job = running(database, artifacts, dataset)
    with database.transaction() as db:
        db.execute(update(Job).values(state=JobState.CANCELLED, finished_at=func.now()))
    delete(database, dataset.id)
    Cleaner(settings, database, stale_seconds=STALE_SECONDS).tick()
    assert artifacts.model_dir(job.id, 1).is_dir()
    assert artifacts.dataset_path(DIGEST).exists()


def test_folders_of_others_are_left_alone(
    cleaner: Cleaner, artifacts: ArtifactStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    others = [
        artifacts.root / "jobs" / "mine" / "attempt-1" / "model",
        artifacts.root / "jobs" / str(UUID(int=1)) / "attempt-x" / "model",
        artifacts.root / "datasets" / "notes.txt",
    ]
    for folder in others:
        folder.mkdir(parents=True)
    cleaner.tick()
    assert all(Path(folder).is_dir() for folder in others)
    assert caplog.messages == []


def delete(database: Database, dataset_id: UUID) -> None:
    with database.transaction() as db:
        db.execute(update(Dataset).where(Dataset.id == dataset_id).values(deleted_at=func.now()))
