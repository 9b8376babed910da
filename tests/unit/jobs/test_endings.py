from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.db.engine import Database
from service.db.tables import Dataset, Job, ModelVersion
from service.jobs import endings, store
from service.jobs.endings import Trained
from service.jobs.progress import record_checkpoint, record_progress, record_resumption
from service.jobs.states import JobState
from service.jobs.transitions import Attempt, StaleAttemptError
from tests.job_records import (
    events_of,
    let_lease_run_out,
    make_dataset,
    make_job,
    make_workspace,
    outcomes_of,
    reasons_of,
    reread,
    take,
)

MONTH = timedelta(days=30)
TRAINED = Trained("jobs/x/attempt-1/model", "a" * 64, {"mase": 0.5}, 1234, {"step": 10})


def test_finish_registers_the_version_with_the_state(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    state = endings.finish(db, attempt, TRAINED, code_version="reprise 1")
    row = store.get(db, dataset.workspace_id, attempt.job_id)
    assert (state, row.job.state, row.version) == ("succeeded", "succeeded", 1)
    version = db.scalars(select(ModelVersion)).one()
    assert (version.job_id, version.attempt, version.code_version) == (
        attempt.job_id,
        1,
        "reprise 1",
    )
    assert reread(db, attempt.job_id).finished_at is not None
    assert outcomes_of(db, attempt.job_id) == ["finished"]
    last = events_of(db, attempt.job_id)[-1]
    assert last.data["to"] == JobState.SUCCEEDED
    assert (last.data["model"], last.data["version"]) == ("demand", 1)


def test_failure_is_said_with_type_and_detail(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    endings.fail(db, attempt, "diverged", "the loss was nan")
    row = reread(db, attempt.job_id)
    assert row.state == JobState.FAILED
    assert row.error == {"type": "diverged", "detail": "the loss was nan"}


def test_a_drained_attempt_is_no_crash(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    for _ in range(5):
        assert endings.release(db, attempt) is JobState.QUEUED
        attempt = take(db).attempt
    row = reread(db, attempt.job_id)
    assert (row.attempt, row.crashes_without_progress) == (6, 0)
    assert reasons_of(db, attempt.job_id)[2::2] == ["drained"] * 5


def test_the_third_crash_without_a_checkpoint_poisons(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    assert endings.crash(db, attempt, "SIGKILL", max_crashes=3) is JobState.QUEUED
    assert endings.crash(db, take(db).attempt, "SIGKILL", max_crashes=3) is JobState.QUEUED
    assert endings.crash(db, take(db).attempt, "SIGSEGV", max_crashes=3) is JobState.FAILED
    row = reread(db, attempt.job_id)
    assert row.error is not None
    assert row.error["type"] == "poisoned"
    assert "3 attempts" in row.error["detail"]
    assert "SIGSEGV" in row.error["detail"]
    assert outcomes_of(db, attempt.job_id) == ["crashed", "crashed", "poisoned"]


def test_a_checkpoint_clears_the_count_of_crashes(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    for step in range(6):
        checkpoint(db, attempt, step)
        endings.crash(db, attempt, "SIGKILL", max_crashes=2)
        attempt = take(db).attempt
    assert reread(db, attempt.job_id).crashes_without_progress == 1


def test_only_expired_leases_are_taken_away(db: Session, dataset: Dataset) -> None:
    lost, kept = started(db, dataset), started(db, dataset)
    let_lease_run_out(db, lost)
    assert endings.expire_lease(db, max_crashes=3) == (lost.job_id, JobState.QUEUED)
    assert endings.expire_lease(db, max_crashes=3) is None
    assert reread(db, kept.job_id).state == JobState.RUNNING
    row = reread(db, lost.job_id)
    assert (row.worker_id, row.lease_expires_at, row.crashes_without_progress) == (None, None, 1)
    assert reasons_of(db, lost.job_id)[-1] == "lease_expired"


def test_an_expired_lease_can_be_the_last_crash(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    let_lease_run_out(db, attempt)
    assert endings.expire_lease(db, max_crashes=1) == (attempt.job_id, JobState.FAILED)
    assert reasons_of(db, attempt.job_id)[-1] == "poisoned"


@pytest.mark.parametrize(
    ("ending", "kept"), [("finish", False), ("release", False), ("fail", True)]
)
def test_only_a_failed_job_keeps_its_checkpoints(
    db: Session, dataset: Dataset, ending: str, kept: bool
) -> None:
    """They stayed on disk for ever, each four times the model."""
    attempt = started(db, dataset)
    checkpoint(db, attempt, 1)
    if ending == "release":
        store.request_cancel(db, dataset.workspace_id, attempt.job_id)
    ENDINGS[ending](db, attempt)
    assert (reread(db, attempt.job_id).checkpoint is not None) is kept


def test_forgotten_are_only_checkpoints_that_nobody_resumes_from(
    db: Session, dataset: Dataset
) -> None:
    """Of jobs that ended before their rows were cleared."""
    jobs = {}
    for ending in ("finish", "fail", "cancel", "crash"):
        attempt = started(db, dataset)
        jobs[ending] = attempt.job_id
        if ending == "cancel":
            store.request_cancel(db, dataset.workspace_id, attempt.job_id)
            endings.release(db, attempt)
        else:
            ENDINGS[ending](db, attempt)
    db.execute(update(Job).values(checkpoint={"step": 1}))
    every = list(jobs.values())
    over = [Attempt(jobs["finish"], 1), Attempt(jobs["cancel"], 1)]
    assert endings.forget_checkpoints(db, every, keep_failed=MONTH) == over
    kept = {ending for ending, job_id in jobs.items() if reread(db, job_id).checkpoint}
    assert kept == {"fail", "crash"}


ENDINGS: dict[str, Callable[[Session, Attempt], Any]] = {
    "finish": lambda db, attempt: endings.finish(db, attempt, TRAINED, code_version="1"),
    "fail": lambda db, attempt: endings.fail(db, attempt, "diverged", "nan"),
    "release": endings.release,
    "crash": lambda db, attempt: endings.crash(db, attempt, "SIGKILL", max_crashes=3),
}
WRITES: dict[str, Callable[[Session, Attempt], Any]] = ENDINGS | {
    "progress": lambda db, attempt: record_progress(
        db, attempt, progress={"step": 99}, metrics={"loss": 9.0}, events=[]
    ),
    "checkpoint": lambda db, attempt: checkpoint(db, attempt, 99),
    "resumption": lambda db, attempt: record_resumption(db, attempt, used=None, rejected=[]),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_accepted_cancel_wins_over_every_ending(
    db: Session, dataset: Dataset, ending: str
) -> None:
    attempt = started(db, dataset)
    store.request_cancel(db, dataset.workspace_id, attempt.job_id)
    assert ENDINGS[ending](db, attempt) is JobState.CANCELLED
    assert db.scalars(select(ModelVersion)).all() == []


def test_an_accepted_cancel_wins_over_a_lost_worker(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    store.request_cancel(db, dataset.workspace_id, attempt.job_id)
    let_lease_run_out(db, attempt)
    assert endings.expire_lease(db, max_crashes=3) == (attempt.job_id, JobState.CANCELLED)


@pytest.mark.parametrize("write", WRITES)
def test_a_stale_attempt_changes_nothing(database: Database, write: str) -> None:
    """A worker that was stopped and wakes up while its successor runs."""
    with database.transaction() as db:
        stale = started(db, make_dataset(db, make_workspace(db).id))
        endings.crash(db, stale, "SIGSTOP", max_crashes=3)
        take(db)
        before = everything(db, stale)
    with database.transaction() as db, pytest.raises(StaleAttemptError):
        WRITES[write](db, stale)
    with database.transaction() as db:
        assert everything(db, stale) == before


@pytest.mark.parametrize("write", WRITES)
def test_a_finished_job_accepts_nothing(database: Database, write: str) -> None:
    with database.transaction() as db:
        attempt = started(db, make_dataset(db, make_workspace(db).id))
        endings.finish(db, attempt, TRAINED, code_version="1")
        before = everything(db, attempt)
    with database.transaction() as db, pytest.raises(StaleAttemptError):
        WRITES[write](db, attempt)
    with database.transaction() as db:
        assert everything(db, attempt) == before


def started(db: Session, dataset: Dataset) -> Attempt:
    make_job(db, dataset)
    return take(db).attempt


def checkpoint(db: Session, attempt: Attempt, step: int) -> str | None:
    return record_checkpoint(db, attempt, step=step, path=f"c/{step}", sha256="b" * 64)


def everything(db: Session, attempt: Attempt) -> list[dict[str, Any]]:
    """The job's row and its events, as they are in the database."""
    row = reread(db, attempt.job_id)
    rows = [row, *events_of(db, attempt.job_id)]
    return [{c.key: getattr(r, c.key) for c in type(r).__mapper__.column_attrs} for r in rows]


def test_a_failed_job_is_resumed_from_its_checkpoint_for_a_while(
    db: Session, dataset: Dataset
) -> None:
    old, new = started(db, dataset), started(db, dataset)
    for attempt in (old, new):
        checkpoint(db, attempt, 1)
        endings.fail(db, attempt, "trainer-error", "a defect")
    ended = Job.finished_at - timedelta(days=31)
    db.execute(update(Job).where(Job.id == old.job_id).values(finished_at=ended))
    every = [old.job_id, new.job_id]
    assert endings.forget_checkpoints(db, every, keep_failed=MONTH) == [old]
    assert reread(db, old.job_id).checkpoint is None
    assert reread(db, new.job_id).checkpoint is not None
