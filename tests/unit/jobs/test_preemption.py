from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from service.db.engine import Database
from service.db.tables import Dataset, Job, Worker
from service.jobs import endings, store, workers
from service.jobs.claims import Lease, claim, look
from service.jobs.preemption import LOCK, make_room
from service.jobs.quotas import UNLIMITED, Quota
from service.jobs.transitions import Attempt
from tests.job_records import (
    events_of,
    make_dataset,
    make_job,
    make_workspace,
    outcomes_of,
    reread,
    take,
)


def make_worker(db: Session, slots: int = 1, queue: str = "cpu") -> UUID:
    worker_id = uuid4()
    workers.register(
        db, worker_id, hostname="h", pid=1, queue=queue, slots=slots, devices={"gpus": []}
    )
    return worker_id


def running(db: Session, dataset: Dataset, worker_id: UUID, **arguments: Any) -> Attempt:
    job = make_job(db, dataset, **arguments)
    queues = workers.SERVES[db.get_one(Worker, worker_id).queue]
    claimed = claim(db, worker_id=worker_id, queues=queues, lease_seconds=60)
    assert claimed is not None
    assert claimed.job.id == job.id
    return claimed.attempt


def urgent(db: Session, dataset: Dataset, priority: int = 5, **arguments: Any) -> Job:
    return make_job(db, dataset, priority=priority, preempts=True, **arguments)


def asked(db: Session, defaults: Quota = UNLIMITED) -> list[UUID]:
    return make_room(db, live_seconds=15, defaults=defaults)


def test_a_running_job_gives_its_slot_up(db: Session, dataset: Dataset) -> None:
    attempt = running(db, dataset, make_worker(db))
    job = urgent(db, dataset)
    assert asked(db) == [attempt.job_id]
    assert look(db, attempt) is Lease.STOP_REQUESTED
    said = events_of(db, attempt.job_id)[-1].data["text"]
    assert said == f"asked to give its slot to the job {job.id} of priority 5"
    endings.release(db, attempt)
    assert outcomes_of(db, attempt.job_id) == ["preempted"]
    row = reread(db, attempt.job_id)
    assert (row.preempt_requested_at, row.crashes_without_progress) == (None, 0)
    assert take(db).job.id == job.id
    assert take(db).attempt == Attempt(attempt.job_id, 2)  # not held: it waits for the next slot


def test_nobody_is_asked_twice_for_one_job(db: Session, dataset: Dataset) -> None:
    worker_id = make_worker(db, slots=3)
    for _ in range(3):
        running(db, dataset, worker_id)
    urgent(db, dataset)
    assert len(asked(db)) == 1
    assert asked(db) == []
    urgent(db, dataset)
    assert len(asked(db)) == 1


@pytest.mark.parametrize("leaving", [store.pause, store.request_cancel])
def test_a_slot_that_is_about_to_be_idle_is_waited_for(
    db: Session, dataset: Dataset, leaving: Any
) -> None:
    worker_id = make_worker(db, slots=2)
    first, _ = (running(db, dataset, worker_id) for _ in range(2))
    leaving(db, dataset.workspace_id, first.job_id)
    urgent(db, dataset)
    assert asked(db) == []


def test_an_idle_slot_is_taken_first(db: Session, dataset: Dataset) -> None:
    worker_id = make_worker(db, slots=2)
    running(db, dataset, worker_id)
    urgent(db, dataset)
    assert asked(db) == []
    urgent(db, dataset)
    assert len(asked(db)) == 1


def test_the_lowest_and_there_the_newest_goes(db: Session, dataset: Dataset) -> None:
    worker_id = make_worker(db, slots=4)
    attempts = [running(db, dataset, worker_id, priority=each) for each in (1, 0, 0, 2)]
    for _ in range(4):
        urgent(db, dataset, priority=2)
    assert asked(db) == [attempts[each].job_id for each in (2, 1, 0)]


@pytest.mark.parametrize("priority", [0, -1])
def test_a_job_of_no_lower_priority_stays(db: Session, dataset: Dataset, priority: int) -> None:
    running(db, dataset, make_worker(db))
    urgent(db, dataset, priority=priority)
    assert asked(db) == []


def test_only_a_job_that_preempts_and_may_run_makes_room(db: Session, dataset: Dataset) -> None:
    attempt = running(db, dataset, make_worker(db))
    make_job(db, dataset, priority=9)
    held = urgent(db, dataset)
    store.pause(db, dataset.workspace_id, held.id)
    urgent(db, dataset, after=[attempt.job_id])
    assert asked(db) == []


def test_only_a_worker_that_would_run_the_job_is_asked(db: Session, dataset: Dataset) -> None:
    on_cpu = running(db, dataset, make_worker(db))
    on_gpu = running(db, dataset, make_worker(db, queue="gpu"))
    urgent(db, dataset, queue="gpu")
    assert asked(db) == [on_gpu.job_id]
    urgent(db, dataset, queue="cpu")
    assert asked(db) == [on_cpu.job_id]


def test_a_worker_that_is_not_heard_of_is_not_asked(db: Session, dataset: Dataset) -> None:
    worker_id = make_worker(db)
    running(db, dataset, worker_id)
    workers.stopped(db, worker_id)
    urgent(db, dataset)
    assert asked(db) == []


def test_jobs_left_behind_on_a_worker_take_no_slot_of_another(
    db: Session, dataset: Dataset
) -> None:
    """Its slot died and was replaced; the lease of its job did not run out yet."""
    crowded = make_worker(db)
    for _ in range(2):
        running(db, dataset, crowded)
    make_worker(db)
    urgent(db, dataset)
    assert asked(db) == []


def test_a_workspace_at_its_quota_gives_a_place_of_its_own(db: Session, dataset: Dataset) -> None:
    """Another one's slot would not help: the job could not be started in it."""
    other = make_dataset(db, make_workspace(db, "two").id)
    worker_id = make_worker(db, slots=3)
    mine = running(db, dataset, worker_id)
    for _ in range(2):
        running(db, other, worker_id, priority=-1)
    for _ in range(2):
        urgent(db, dataset)
    assert asked(db, Quota(running=1)) == [mine.job_id]
    assert asked(db, Quota(running=1)) == []


def test_a_workspace_without_minutes_left_makes_no_room(db: Session, dataset: Dataset) -> None:
    running(db, dataset, make_worker(db))
    urgent(db, dataset)
    assert asked(db, Quota(minutes=0)) == []


def test_a_job_that_is_being_claimed_needs_no_room(database: Database) -> None:
    with database.transaction() as db:
        dataset = make_dataset(db, make_workspace(db).id)
        running(db, dataset, make_worker(db))
        urgent(db, dataset)
    with database.transaction() as claiming, database.transaction() as db:
        take(claiming)
        assert asked(db) == []


def test_two_processes_do_not_look_at_the_same_time(database: Database) -> None:
    with database.transaction() as db:
        dataset = make_dataset(db, make_workspace(db).id)
        running(db, dataset, make_worker(db))
        urgent(db, dataset)
    with database.transaction() as other, database.transaction() as db:
        other.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        assert asked(db) == []
    with database.transaction() as db:
        assert len(asked(db)) == 1
