from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from service.db.tables import Dataset, Job
from service.errors import ValidationError
from service.jobs import endings, store
from service.jobs.claims import Lease, heartbeat, look
from service.jobs.endings import Trained
from service.jobs.progress import record_checkpoint
from service.jobs.states import JobState
from service.jobs.transitions import Attempt
from tests.job_records import make_job, outcomes_of, reasons_of, reread, take

SOON = datetime.now(UTC) + timedelta(hours=1)
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


def started(db: Session, dataset: Dataset) -> Attempt:
    make_job(db, dataset, deadline=SOON)
    return take(db).attempt


def pass_deadline(db: Session) -> None:
    db.execute(update(Job).values(deadline=LONG_AGO))


def test_a_deadline_that_has_passed_is_refused(db: Session, dataset: Dataset) -> None:
    with pytest.raises(ValidationError) as refused:
        make_job(db, dataset, deadline=LONG_AGO)
    assert refused.value.faults[0].location == ("body", "deadline")


@pytest.mark.parametrize("hold", ["", "paused", "blocked"])
def test_a_job_that_waits_too_long_fails(db: Session, dataset: Dataset, hold: str) -> None:
    other = make_job(db, dataset)
    job = make_job(db, dataset, deadline=SOON, after=[other.id] if hold == "blocked" else [])
    if hold == "paused":
        store.pause(db, dataset.workspace_id, job.id)
    assert endings.expire_deadline(db) is None
    db.execute(update(Job).where(Job.id == job.id).values(deadline=LONG_AGO))
    assert endings.expire_deadline(db) == job.id
    assert endings.expire_deadline(db) is None
    row = reread(db, job.id)
    assert row.state == JobState.FAILED
    assert row.error == {
        "type": "deadline-exceeded",
        "detail": "it was to end before 2001-01-01T00:00:00+00:00",
    }
    assert reasons_of(db, job.id) == ["submitted", "deadline"]


def test_a_job_that_waited_too_long_takes_those_along_that_wait_for_it(
    db: Session, dataset: Dataset
) -> None:
    job = make_job(db, dataset, deadline=SOON)
    last = make_job(db, dataset, after=[job.id])
    db.execute(update(Job).where(Job.id == job.id).values(deadline=LONG_AGO))
    endings.expire_deadline(db)
    assert reasons_of(db, last.id) == ["submitted", "dependency_failed"]


def test_a_running_job_is_stopped_and_keeps_its_checkpoint(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    assert look(db, attempt) is Lease.HELD
    pass_deadline(db)
    assert endings.expire_deadline(db) is None  # its worker's
    assert look(db, attempt) is Lease.STOP_REQUESTED
    assert heartbeat(db, attempt, lease_seconds=60) is Lease.STOP_REQUESTED
    record_checkpoint(db, attempt, step=7, path="c/7", sha256="b" * 64)
    assert endings.release(db, attempt) is JobState.FAILED
    row = reread(db, attempt.job_id)
    assert row.error is not None
    assert row.error["type"] == "deadline-exceeded"
    assert row.checkpoint is not None
    assert outcomes_of(db, row.id) == ["deadline"]


def test_a_job_that_is_done_in_that_moment_has_succeeded(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    pass_deadline(db)
    trained = Trained("x", "a" * 64, {}, 1, {})
    assert endings.finish(db, attempt, trained, code_version="1") is JobState.SUCCEEDED


def test_a_cancel_wins_over_a_deadline(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    pass_deadline(db)
    store.request_cancel(db, dataset.workspace_id, attempt.job_id)
    assert endings.release(db, attempt) is JobState.CANCELLED


def test_a_deadline_wins_over_a_pause(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    store.pause(db, dataset.workspace_id, attempt.job_id)
    pass_deadline(db)
    assert endings.release(db, attempt) is JobState.FAILED


def test_a_late_job_whose_trainer_died_fails_in_the_queue(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    pass_deadline(db)
    assert endings.crash(db, attempt, "SIGKILL", max_crashes=3) is JobState.QUEUED
    assert endings.expire_deadline(db) == attempt.job_id
