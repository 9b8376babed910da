from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from rnn.config import GenerationConfig
from service.datasets.store import delete_dataset
from service.db.tables import Dataset, Job, Model
from service.errors import (
    ConflictError,
    ModelTaskMismatchError,
    NotFoundError,
    QuotaExceededError,
    ValidationError,
)
from service.jobs import endings, store
from service.jobs.endings import Trained
from service.jobs.progress import record_checkpoint, record_progress
from service.jobs.quotas import UNLIMITED, Quota
from service.jobs.states import JobState
from service.jobs.store import JobRow
from service.jobs.transitions import Attempt
from service.registry.bases import BaseRecord
from tests.job_records import (
    look_for_work,
    make_job,
    make_workspace,
    outcomes_of,
    reasons_of,
    reread,
    take,
)

TRAINED = Trained("x", "a" * 64, {}, 1, {})
SOON = datetime.now(UTC) + timedelta(hours=1)
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


def retry(db: Session, job: Job, quota: Quota = UNLIMITED, **changes: datetime | None) -> JobRow:
    return store.retry(db, job.workspace_id, job.id, changes, defaults=quota)  # type: ignore[arg-type]


def failed(db: Session, dataset: Dataset, **arguments: Any) -> Job:
    job = make_job(db, dataset, **arguments)
    endings.fail(db, take(db).attempt, "diverged", "nan")
    return reread(db, job.id)


def test_a_failed_job_goes_on_from_its_checkpoint(db: Session, dataset: Dataset) -> None:
    job = make_job(db, dataset)
    attempt = take(db).attempt
    record_progress(db, attempt, progress={"step": 8}, metrics={"loss": 1.0}, events=[])
    record_checkpoint(db, attempt, step=8, path="c/8", sha256="b" * 64)
    for _ in range(3):
        endings.crash(db, attempt, "SIGKILL", max_crashes=3)
        claimed = look_for_work(db)
        attempt = claimed.attempt if claimed else attempt
    assert reread(db, job.id).error is not None
    row = retry(db, job)
    assert (row.job.state, row.job.error, row.job.finished_at) == (JobState.QUEUED, None, None)
    assert (row.job.progress, row.job.metrics) == ({"step": 8}, {"loss": 1.0})
    assert row.job.crashes_without_progress == 0
    claimed = take(db)
    assert claimed.attempt == Attempt(job.id, 4)
    assert claimed.job.checkpoint is not None
    assert claimed.job.checkpoint["step"] == 8
    assert reasons_of(db, job.id)[-2:] == ["retried", "claimed"]
    assert outcomes_of(db, job.id) == ["crashed", "crashed", "poisoned", None]


def test_a_cancelled_job_starts_over(db: Session, dataset: Dataset) -> None:
    job = make_job(db, dataset)
    attempt = take(db).attempt
    record_progress(db, attempt, progress={"step": 8}, metrics={"loss": 1.0}, events=[])
    record_checkpoint(db, attempt, step=8, path="c/8", sha256="b" * 64)
    store.request_cancel(db, dataset.workspace_id, job.id)
    endings.release(db, attempt)
    row = retry(db, job)
    assert (row.job.progress, row.job.metrics, row.job.checkpoint) == ({}, {}, None)
    assert row.job.cancel_requested_at is None
    assert endings.finish(db, take(db).attempt, TRAINED, code_version="1") is JobState.SUCCEEDED


def test_a_job_that_was_paused_when_it_was_cancelled_runs(db: Session, dataset: Dataset) -> None:
    job = make_job(db, dataset)
    store.pause(db, dataset.workspace_id, job.id)
    store.request_cancel(db, dataset.workspace_id, job.id)
    assert retry(db, job).job.paused_at is None
    assert take(db).job.id == job.id


def test_only_a_job_that_did_not_succeed_is_retried(db: Session, dataset: Dataset) -> None:
    job = make_job(db, dataset)
    for step in (lambda: None, lambda: take(db), lambda: finish(db, job)):
        step()
        with pytest.raises(ConflictError, match="there is nothing to retry"):
            retry(db, job)


def finish(db: Session, job: Job) -> None:
    endings.finish(db, Attempt(job.id, 1), TRAINED, code_version="1")


def test_a_job_of_another_workspace_is_not_there(db: Session, dataset: Dataset) -> None:
    job = failed(db, dataset)
    with pytest.raises(NotFoundError):
        store.retry(db, make_workspace(db, "two").id, job.id, {}, defaults=UNLIMITED)
    with pytest.raises(NotFoundError):
        store.retry(db, dataset.workspace_id, uuid4(), {}, defaults=UNLIMITED)


def test_without_its_data_set_a_job_cannot_be_retried(db: Session, dataset: Dataset) -> None:
    """A data set with a job that is queued cannot be deleted; this would have been the way."""
    job = failed(db, dataset)
    delete_dataset(db, dataset.workspace_id, dataset.id)
    with pytest.raises(ConflictError, match="data set of the job"):
        retry(db, job)


def test_without_its_base_a_job_cannot_be_retried(db: Session, dataset: Dataset) -> None:
    make_job(db, dataset, model_name="base")
    endings.finish(db, take(db).attempt, TRAINED, code_version="1")
    base = BaseRecord(name="base", version=1, path="x", sha256="a" * 64)
    job = failed(db, dataset, base=base)
    assert retry(db, job).job.state == JobState.QUEUED
    endings.fail(db, take(db).attempt, "diverged", "nan")
    db.execute(delete(Model).where(Model.name == "base"))
    with pytest.raises(ConflictError, match="base:1, which the job"):
        retry(db, job)


def test_a_name_that_another_task_took_meanwhile(db: Session, dataset: Dataset) -> None:
    job = failed(db, dataset, model_name="demand")
    other = GenerationConfig(task="text-generation").model_dump(mode="json")
    make_job(db, dataset, model_name="demand", config=other)
    with pytest.raises(ModelTaskMismatchError):
        retry(db, job)


def test_a_retry_is_counted_as_a_submission(db: Session, dataset: Dataset) -> None:
    job = failed(db, dataset)
    make_job(db, dataset)
    with pytest.raises(QuotaExceededError):
        retry(db, job, Quota(queued=1))
    assert retry(db, job, Quota(queued=2)).job.state == JobState.QUEUED


def test_a_job_whose_deadline_passed_needs_another_one(db: Session, dataset: Dataset) -> None:
    job = failed(db, dataset, deadline=SOON)
    db.execute(update(Job).values(deadline=LONG_AGO))
    with pytest.raises(ConflictError, match="give it another one"):
        retry(db, job)
    with pytest.raises(ValidationError) as refused:
        retry(db, job, deadline=LONG_AGO)
    assert refused.value.faults[0].location == ("body", "deadline")
    assert retry(db, job, deadline=SOON).job.deadline == SOON


def test_a_deadline_may_be_taken_away(db: Session, dataset: Dataset) -> None:
    job = failed(db, dataset, deadline=SOON)
    assert retry(db, job, deadline=None).job.deadline is None


def test_a_deadline_that_is_to_come_is_kept(db: Session, dataset: Dataset) -> None:
    assert retry(db, failed(db, dataset, deadline=SOON)).job.deadline == SOON


def test_what_a_job_waits_for_comes_first(db: Session, dataset: Dataset) -> None:
    """It failed with the other one, so that one has to be retried before."""
    first = make_job(db, dataset)
    second = make_job(db, dataset, after=[first.id])
    endings.fail(db, take(db).attempt, "diverged", "nan")
    with pytest.raises(ConflictError, match=f"waits for {first.id}, which is failed"):
        retry(db, second)
    retry(db, first)
    row = retry(db, second)
    assert row.job.blocked
    assert row.after == [first.id]
    endings.finish(db, take(db).attempt, TRAINED, code_version="1")
    assert take(db).job.id == second.id


def test_the_checkpoints_of_a_job_that_is_tried_again_are_not_forgotten(
    db: Session, dataset: Dataset
) -> None:
    jobs: list[UUID] = []
    for _ in range(2):
        jobs.append(make_job(db, dataset).id)
        store.request_cancel(db, dataset.workspace_id, jobs[-1])
    retry(db, reread(db, jobs[1]))
    attempt = take(db).attempt
    record_checkpoint(db, attempt, step=1, path="c/1", sha256="b" * 64)
    assert endings.forget_checkpoints(db, jobs, keep_failed=timedelta(days=30)) == [
        Attempt(jobs[0], 0)
    ]
    assert reread(db, jobs[1]).checkpoint is not None
