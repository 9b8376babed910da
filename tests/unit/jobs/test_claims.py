from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.db.engine import Database
from service.db.tables import Dataset
from service.jobs import store
from service.jobs.claims import Lease, claim, heartbeat, look
from service.jobs.states import JobState
from service.jobs.transitions import Attempt, StaleAttemptError, move
from tests.job_records import (
    events_of,
    make_dataset,
    make_job,
    make_workspace,
    reread,
    take,
)


def claim_all(db: Session, queues: Sequence[str] = ("cpu",)) -> list[UUID]:
    taken = []
    while (claimed := claim(db, worker_id=uuid4(), queues=queues, lease_seconds=60)) is not None:
        taken.append(claimed.job.id)
    return taken


def test_claim_starts_an_attempt_with_a_lease(db: Session, dataset: Dataset) -> None:
    job = make_job(db, dataset)
    claimed = take(db, lease_seconds=60)
    assert claimed.attempt == Attempt(job.id, 1)
    assert claimed.dataset_sha256 == dataset.sha256
    row = reread(db, job.id)
    assert (row.state, row.attempt) == (JobState.RUNNING, 1)
    assert row.started_at is not None
    assert row.lease_expires_at is not None
    left = (row.lease_expires_at - db.execute(select(func.clock_timestamp())).scalar_one()).seconds
    assert 50 <= left <= 60
    assert [event.seq for event in events_of(db, job.id)] == [1, 2]
    assert events_of(db, job.id)[1].attempt == 1


def test_nothing_to_claim(db: Session, dataset: Dataset) -> None:
    make_job(db, dataset, queue="gpu")
    assert claim_all(db, ["cpu"]) == []


def test_a_gpu_worker_claims_from_both_queues(db: Session, dataset: Dataset) -> None:
    jobs = [make_job(db, dataset, queue=queue).id for queue in ("gpu", "cpu")]
    assert claim_all(db, ["gpu", "cpu"]) == jobs


def test_order_is_priority_then_fewest_running_then_age(db: Session, dataset: Dataset) -> None:
    other = make_dataset(db, make_workspace(db, "two").id)
    first = make_job(db, dataset)
    take(db)
    second = make_job(db, dataset)  # its workspace has one running
    third = make_job(db, other)
    urgent = make_job(db, dataset, priority=5)
    late = make_job(db, other, priority=-1)
    assert first.id not in (claimed := claim_all(db))
    assert claimed == [urgent.id, third.id, second.id, late.id]


def test_two_workers_never_claim_the_same_job(database: Database) -> None:
    """The second passes over the row that the first has not committed yet."""
    with database.transaction() as db:
        data = make_dataset(db, make_workspace(db).id)
        jobs = {make_job(db, data).id, make_job(db, data).id}
    with database.transaction() as one, database.transaction() as two:
        taken = {take(one).job.id, take(two).job.id}
        assert taken == jobs
        assert claim(two, worker_id=uuid4(), queues=["cpu"], lease_seconds=1) is None


def test_heartbeat_prolongs_the_lease(db: Session, dataset: Dataset) -> None:
    claimed = take_one(db, dataset)
    before = reread(db, claimed.job_id).lease_expires_at
    assert heartbeat(db, claimed, lease_seconds=120) is Lease.HELD
    after = reread(db, claimed.job_id).lease_expires_at
    assert before is not None
    assert after is not None
    assert after > before


def test_heartbeat_answers_that_a_cancel_was_asked_for(db: Session, dataset: Dataset) -> None:
    attempt = take_one(db, dataset)
    store.request_cancel(db, dataset.workspace_id, attempt.job_id)
    assert heartbeat(db, attempt, lease_seconds=60) is Lease.CANCEL_REQUESTED
    assert look(db, attempt) is Lease.CANCEL_REQUESTED


@pytest.mark.parametrize("number", [0, 2])
def test_heartbeat_of_another_attempt_is_refused(
    db: Session, dataset: Dataset, number: int
) -> None:
    attempt = take_one(db, dataset)
    stale = Attempt(attempt.job_id, number)
    assert heartbeat(db, stale, lease_seconds=60) is Lease.LOST
    assert look(db, stale) is Lease.LOST


def test_a_transition_outside_the_table_is_a_defect(db: Session, dataset: Dataset) -> None:
    attempt = take_one(db, dataset)
    with pytest.raises(AssertionError):
        move(db, attempt, JobState.RUNNING, JobState.QUEUED, "claimed")


def test_a_transition_from_a_state_that_is_over_is_refused(db: Session, dataset: Dataset) -> None:
    job = make_job(db, dataset)
    store.request_cancel(db, dataset.workspace_id, job.id)
    with pytest.raises(StaleAttemptError):
        move(db, Attempt(job.id, 0), JobState.QUEUED, JobState.RUNNING, "claimed")
    assert reread(db, job.id).last_event_seq == 2


def take_one(db: Session, dataset: Dataset) -> Attempt:
    make_job(db, dataset)
    return take(db).attempt
