from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.orm import Session

from service.db.tables import Dataset
from service.errors import ConflictError, NotFoundError
from service.jobs import endings, store
from service.jobs.claims import Lease, heartbeat, look
from service.jobs.endings import Trained
from service.jobs.states import JobState
from service.jobs.transitions import Attempt
from tests.job_records import (
    events_of,
    let_lease_run_out,
    look_for_work,
    make_job,
    make_workspace,
    outcomes_of,
    reasons_of,
    reread,
    take,
)

TRAINED = Trained("x", "a" * 64, {}, 1, {})


def test_a_paused_job_waits_until_it_is_resumed(db: Session, dataset: Dataset) -> None:
    job = make_job(db, dataset)
    row = store.pause(db, dataset.workspace_id, job.id)
    assert (row.job.state, row.queue_position) == (JobState.QUEUED, None)
    assert row.job.paused_at is not None
    assert look_for_work(db) is None
    row = store.resume(db, dataset.workspace_id, job.id)
    assert (row.job.paused_at, row.queue_position) == (None, 1)
    assert take(db).job.id == job.id
    assert texts_of(db, job.id) == ["paused", "resumed"]


def test_a_paused_job_lets_those_behind_it_pass(db: Session, dataset: Dataset) -> None:
    first, second = make_job(db, dataset, priority=5), make_job(db, dataset)
    store.pause(db, dataset.workspace_id, first.id)
    assert store.get(db, dataset.workspace_id, second.id).queue_position == 1
    assert take(db).job.id == second.id
    assert look_for_work(db) is None


def test_asking_again_changes_nothing(db: Session, dataset: Dataset) -> None:
    waiting, running = make_job(db, dataset, priority=-1), make_job(db, dataset)
    take(db)
    for job in (waiting, running):
        for change in (store.resume, store.pause, store.pause, store.resume, store.resume):
            change(db, dataset.workspace_id, job.id)
    assert texts_of(db, waiting.id) == ["paused", "resumed"]
    assert texts_of(db, running.id) == ["pause requested", "resumed"]


def test_a_running_job_is_saved_and_given_back(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    assert look(db, attempt) is Lease.HELD
    row = store.pause(db, dataset.workspace_id, attempt.job_id)
    assert (row.job.state, row.job.paused_at) == (JobState.RUNNING, None)
    asked = row.job.pause_requested_at
    assert asked is not None
    assert look(db, attempt) is Lease.STOP_REQUESTED
    assert heartbeat(db, attempt, lease_seconds=60) is Lease.STOP_REQUESTED
    assert endings.release(db, attempt) is JobState.QUEUED
    job = reread(db, attempt.job_id)
    assert (job.paused_at, job.pause_requested_at) == (asked, None)
    assert job.crashes_without_progress == 0
    assert outcomes_of(db, job.id) == ["paused"]
    assert look_for_work(db) is None
    store.resume(db, dataset.workspace_id, job.id)
    assert take(db).attempt == Attempt(job.id, 2)


def test_a_pause_that_is_taken_back_in_time_stops_nothing(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    store.pause(db, dataset.workspace_id, attempt.job_id)
    store.resume(db, dataset.workspace_id, attempt.job_id)
    assert look(db, attempt) is Lease.HELD


def test_a_pause_that_is_taken_back_too_late_costs_an_attempt_and_nothing_else(
    db: Session, dataset: Dataset
) -> None:
    """The trainer was told to stop already."""
    attempt = started(db, dataset)
    store.pause(db, dataset.workspace_id, attempt.job_id)
    store.resume(db, dataset.workspace_id, attempt.job_id)
    assert endings.release(db, attempt) is JobState.QUEUED
    assert reasons_of(db, attempt.job_id)[-1] == "drained"
    assert take(db).attempt == Attempt(attempt.job_id, 2)


def test_a_job_that_is_done_before_it_stops_has_succeeded(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    store.pause(db, dataset.workspace_id, attempt.job_id)
    assert endings.finish(db, attempt, TRAINED, code_version="1") is JobState.SUCCEEDED
    job = reread(db, attempt.job_id)
    assert (job.pause_requested_at, job.paused_at) == (None, None)


CRASHES: dict[str, Callable[[Session, Attempt], Any]] = {
    "crashed": lambda db, attempt: endings.crash(db, attempt, "SIGKILL", max_crashes=3),
    "lease_expired": lambda db, attempt: (
        let_lease_run_out(db, attempt),
        endings.expire_lease(db, max_crashes=3),
    ),
}


@pytest.mark.parametrize("reason", CRASHES)
def test_a_job_that_crashes_before_it_stops_is_held_all_the_same(
    db: Session, dataset: Dataset, reason: str
) -> None:
    attempt = started(db, dataset)
    store.pause(db, dataset.workspace_id, attempt.job_id)
    CRASHES[reason](db, attempt)
    job = reread(db, attempt.job_id)
    assert (job.state, job.crashes_without_progress) == (JobState.QUEUED, 1)
    assert job.paused_at is not None
    assert outcomes_of(db, job.id) == [reason]
    assert look_for_work(db) is None


def test_a_cancel_wins_over_a_pause(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    store.pause(db, dataset.workspace_id, attempt.job_id)
    store.request_cancel(db, dataset.workspace_id, attempt.job_id)
    assert look(db, attempt) is Lease.CANCEL_REQUESTED
    assert endings.release(db, attempt) is JobState.CANCELLED


def test_a_job_that_is_being_cancelled_cannot_be_paused(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    store.request_cancel(db, dataset.workspace_id, attempt.job_id)
    with pytest.raises(ConflictError, match="being cancelled"):
        store.pause(db, dataset.workspace_id, attempt.job_id)


def test_a_paused_job_is_cancelled_at_once(db: Session, dataset: Dataset) -> None:
    job = make_job(db, dataset)
    store.pause(db, dataset.workspace_id, job.id)
    assert store.request_cancel(db, dataset.workspace_id, job.id).job.state == JobState.CANCELLED


@pytest.mark.parametrize("change", [store.pause, store.resume])
def test_a_job_that_has_ended_is_a_conflict(
    db: Session, dataset: Dataset, change: Callable[..., Any]
) -> None:
    attempt = started(db, dataset)
    endings.fail(db, attempt, "diverged", "nan")
    with pytest.raises(ConflictError, match="is failed: there is nothing to"):
        change(db, dataset.workspace_id, attempt.job_id)


@pytest.mark.parametrize("change", [store.pause, store.resume])
def test_a_job_of_another_workspace_is_not_there(
    db: Session, dataset: Dataset, change: Callable[..., Any]
) -> None:
    job = make_job(db, dataset)
    with pytest.raises(NotFoundError):
        change(db, make_workspace(db, "two").id, job.id)


def started(db: Session, dataset: Dataset) -> Attempt:
    make_job(db, dataset)
    return take(db).attempt


def texts_of(db: Session, job_id: Any) -> list[str]:
    return [event.data["text"] for event in events_of(db, job_id) if event.type == "message"]
