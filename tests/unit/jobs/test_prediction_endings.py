"""How a prediction of a data set ends: its result and its state are one commit."""

import hashlib
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.artifacts.store import ArtifactStore
from service.db.engine import Database
from service.db.tables import Dataset, Job
from service.jobs import endings, store
from service.jobs.endings import Predicted
from service.jobs.kinds import JobKind
from service.jobs.states import JobState
from service.jobs.transitions import Attempt, StaleAttemptError
from service.registry.bases import BaseRecord
from service.settings import Settings
from tests.job_records import (
    PROFILE,
    events_of,
    make_dataset,
    make_job,
    make_workspace,
    reread,
    take,
)

CONTENT = b'{"row": 1}\n'
BASE = BaseRecord(name="reviews", version=1, path="jobs/x/attempt-1/model", sha256="a" * 64)
CONFIG = {"task": "text-classification", "data": {}, "all_scores": False, "name": "labels"}


@pytest.fixture
def artifacts(settings: Settings) -> ArtifactStore:
    artifacts = ArtifactStore(settings.artifact_dir)
    artifacts.prepare()
    return artifacts


@pytest.fixture
def predicted(artifacts: ArtifactStore) -> Predicted:
    path = artifacts.root / "jobs" / "result.jsonl"
    path.write_bytes(CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()
    profile = {**PROFILE, "format": "jsonl"}
    counts = {"rows": 1, "failed_rows": 0}
    return Predicted(path, digest, len(CONTENT), profile, counts, {"step": 1, "total_steps": 1})


def started(db: Session) -> Attempt:
    dataset = make_dataset(db, make_workspace(db).id)
    make_job(db, dataset, kind=JobKind.PREDICTION, config=CONFIG, base=BASE, model_name="reviews")
    return take(db).attempt


def results(db: Session) -> list[Dataset]:
    return list(db.scalars(select(Dataset).where(Dataset.name == "labels")))


def test_the_result_comes_with_the_state(
    database: Database, artifacts: ArtifactStore, predicted: Predicted
) -> None:
    with database.transaction() as db:
        attempt = started(db)
    with database.transaction() as db:
        assert endings.finish_prediction(db, attempt, predicted, artifacts) == "succeeded"
    with database.transaction() as db:
        job = reread(db, attempt.job_id)
        (dataset,) = results(db)
        assert (job.state, job.result_dataset_id) == ("succeeded", dataset.id)
        assert (job.metrics, job.progress) == (predicted.metrics, predicted.progress)
        assert (dataset.workspace_id, dataset.size_bytes) == (job.workspace_id, len(CONTENT))
        assert events_of(db, job.id)[-1].data["dataset"] == str(dataset.id)
    assert artifacts.dataset_path(predicted.sha256).read_bytes() == CONTENT


def test_a_commit_that_fails_is_repeated(
    database: Database, artifacts: ArtifactStore, predicted: Predicted
) -> None:
    """The file has moved to its place before."""
    with database.transaction() as db:
        attempt = started(db)
    with database.transaction() as db:
        endings.finish_prediction(db, attempt, predicted, artifacts)
        db.rollback()
    with database.transaction() as db:
        assert results(db) == []
        endings.finish_prediction(db, attempt, predicted, artifacts)
    with database.transaction() as db:
        assert [dataset.sha256 for dataset in results(db)] == [predicted.sha256]
    assert artifacts.dataset_path(predicted.sha256).read_bytes() == CONTENT


def test_a_cancel_that_was_accepted_wins(
    database: Database, artifacts: ArtifactStore, predicted: Predicted
) -> None:
    with database.transaction() as db:
        attempt = started(db)
        job = db.get_one(Job, attempt.job_id)
        store.request_cancel(db, job.workspace_id, job.id)
    with database.transaction() as db:
        state = endings.finish_prediction(db, attempt, predicted, artifacts)
        assert state is JobState.CANCELLED
        assert results(db) == []
    assert not artifacts.dataset_path(predicted.sha256).exists()


def test_an_attempt_that_is_over_adds_nothing(
    database: Database, artifacts: ArtifactStore, predicted: Predicted
) -> None:
    with database.transaction() as db:
        attempt = started(db)
        endings.crash(db, attempt, "gone", max_crashes=3)
        take(db)
    with pytest.raises(StaleAttemptError), database.transaction() as db:
        endings.finish_prediction(db, attempt, predicted, artifacts)
    with database.transaction() as db:
        assert results(db) == []
    assert Path(predicted.path).exists()
    assert not artifacts.dataset_path(predicted.sha256).exists()
