import math
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from service.db.tables import Dataset, JobAttempt
from service.jobs import endings, workers
from service.jobs.claims import claim
from service.jobs.endings import Trained
from service.jobs.expectation import Queue, queues_now, remaining_seconds
from service.jobs.progress import record_progress
from service.jobs.transitions import Attempt
from tests.job_records import make_job, reread

UNKNOWN = math.inf


@pytest.mark.parametrize(
    ("free_in", "job_seconds", "position", "expected"),
    [
        ((), 10.0, 1, None),  # no worker
        ((0.0,), UNKNOWN, 1, 0.0),
        ((0.0, 0.0, 30.0), UNKNOWN, 3, 30.0),
        ((20.0, 50.0), UNKNOWN, 1, 20.0),
        ((20.0, 50.0), UNKNOWN, 2, 50.0),
        ((20.0, 50.0), UNKNOWN, 3, None),  # nobody knows how long the first one takes
        ((20.0, 50.0), 100.0, 3, 120.0),
        ((20.0, 50.0), 100.0, 6, 250.0),
        ((UNKNOWN,), UNKNOWN, 1, None),
    ],
)
def test_slots_are_taken_in_turns(
    free_in: tuple[float, ...], job_seconds: float, position: int, expected: float | None
) -> None:
    assert Queue(free_in, job_seconds).wait_seconds(position) == expected


def make_worker(db: Session, slots: int, queue: str = "cpu") -> UUID:
    worker_id = uuid4()
    workers.register(db, worker_id, hostname="h", pid=1, queue=queue, slots=slots, devices={})
    return worker_id


def started(db: Session, dataset: Dataset, worker_id: UUID, queue: str = "cpu") -> Attempt:
    make_job(db, dataset, queue=queue)
    claimed = claim(db, worker_id=worker_id, queues=[queue], lease_seconds=60)
    assert claimed is not None
    return claimed.attempt


def measure(db: Session, attempt: Attempt, step: int, rate: float | None) -> None:
    progress = {"step": step, "total_steps": 100, "steps_per_second": rate}
    record_progress(db, attempt, progress=progress, metrics=None, events=[])


def now(db: Session, name: str = "cpu") -> Queue:
    return queues_now(db, [name], live_seconds=15)[name]


def test_a_running_job_goes_on_at_its_rate(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset, make_worker(db, 1))
    assert remaining_seconds(reread(db, attempt.job_id)) is None
    measure(db, attempt, 1, None)
    assert remaining_seconds(reread(db, attempt.job_id)) is None
    measure(db, attempt, 60, 2.0)
    assert remaining_seconds(reread(db, attempt.job_id)) == 20.0
    endings.release(db, attempt)
    assert remaining_seconds(reread(db, attempt.job_id)) is None


def test_slots_are_free_when_their_jobs_are_expected_to_end(db: Session, dataset: Dataset) -> None:
    worker_id = make_worker(db, 3)
    for step in (60, 20):
        measure(db, started(db, dataset, worker_id), step, 2.0)
    assert now(db) == Queue([0.0, 20.0, 40.0], UNKNOWN)
    started(db, dataset, worker_id)
    assert now(db) == Queue([20.0, 40.0, UNKNOWN], UNKNOWN)


def test_workers_that_serve_the_queue_count_while_they_are_there(
    db: Session, dataset: Dataset
) -> None:
    gone = make_worker(db, 5)
    started(db, dataset, gone)
    workers.stopped(db, gone)
    measure(db, started(db, dataset, make_worker(db, 1, "gpu")), 90, 1.0)
    make_worker(db, 1)
    assert now(db, "cpu") == Queue([0.0, 10.0], UNKNOWN)
    assert now(db, "gpu") == Queue([10.0], UNKNOWN)


def test_the_mean_is_of_attempts_that_ended_with_a_model(db: Session, dataset: Dataset) -> None:
    """Not of what a job waited between its attempts, and of its own queue."""
    worker_id = make_worker(db, 1)
    spans = [
        ("finish", "cpu", 10),
        ("finish", "cpu", 30),
        ("fail", "cpu", 500),
        ("finish", "gpu", 70),
    ]
    for ending, queue, seconds in spans:
        attempt = started(db, dataset, worker_id, queue)
        if ending == "finish":
            endings.finish(db, attempt, Trained("x", "a" * 64, {}, 1, {}), code_version="1")
        else:
            endings.fail(db, attempt, "diverged", "nan")
        began = func.now() - timedelta(hours=1)
        its = JobAttempt.job_id == attempt.job_id
        ended = began + timedelta(seconds=seconds)
        db.execute(update(JobAttempt).where(its).values(started_at=began, ended_at=ended))
    found = queues_now(db, ["cpu", "gpu", "other"], live_seconds=15)
    assert {name: queue.job_seconds for name, queue in found.items()} == {
        "cpu": 20.0,
        "gpu": 70.0,
        "other": UNKNOWN,
    }
    started(db, dataset, worker_id)
    assert now(db).free_in_seconds == [20.0]  # it has no rate yet: it has just begun
