from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from service.db.tables import Dataset, Worker
from service.jobs import workers
from service.jobs.claims import claim
from tests.job_records import make_job, reread


def register(db: Session, queue: str = "cpu") -> UUID:
    worker_id = uuid4()
    workers.register(db, worker_id, hostname="h", pid=1, queue=queue, slots=2, devices={"gpus": []})
    return worker_id


def lose(db: Session, worker_id: UUID) -> None:
    past = func.clock_timestamp() - timedelta(seconds=60)
    db.execute(update(Worker).where(Worker.id == worker_id).values(seen_at=past))


def test_a_worker_is_live_until_it_is_not_seen(db: Session) -> None:
    worker_id = register(db)
    assert [row.live for row in workers.list_workers(db, live_seconds=15)] == [True]
    lose(db, worker_id)
    assert [row.live for row in workers.list_workers(db, live_seconds=15)] == [False]
    workers.seen(db, worker_id, {"gpus": []})
    assert [row.live for row in workers.list_workers(db, live_seconds=15)] == [True]
    workers.stopped(db, worker_id)
    assert [row.live for row in workers.list_workers(db, live_seconds=15)] == [False]


def test_running_jobs_are_counted(db: Session, dataset: Dataset) -> None:
    worker_id, _ = register(db), register(db)
    make_job(db, dataset)
    claim(db, worker_id=worker_id, queues=["cpu"], lease_seconds=60)
    counts = {row.worker.id: row.running_jobs for row in workers.list_workers(db, live_seconds=15)}
    assert counts[worker_id] == 1
    assert sum(counts.values()) == 1


@pytest.mark.parametrize(
    ("device", "with_gpu", "queue"),
    [
        ("cuda", False, "gpu"),
        ("cpu", True, "cpu"),
        ("auto", True, "gpu"),
        ("auto", False, "cpu"),
    ],
)
def test_queue_of_a_job(db: Session, device: str, with_gpu: bool, queue: str) -> None:
    register(db, "cpu")
    if with_gpu:
        register(db, "gpu")
    assert workers.choose_queue(db, device, live_seconds=15) == queue


def test_a_lost_gpu_worker_offers_nothing(db: Session) -> None:
    lose(db, register(db, "gpu"))
    assert workers.choose_queue(db, "auto", live_seconds=15) == "cpu"


def test_queues_are_waiting_if_somebody_serves_them(db: Session, dataset: Dataset) -> None:
    make_job(db, dataset, queue="gpu")
    assert workers.waiting_queues(db, live_seconds=15) == []
    register(db, "cpu")
    assert workers.waiting_queues(db, live_seconds=15) == []
    make_job(db, dataset, queue="cpu")
    assert workers.waiting_queues(db, live_seconds=15) == ["cpu"]
    register(db, "gpu")
    assert workers.waiting_queues(db, live_seconds=15) == ["cpu", "gpu"]


def test_jobs_for_any_device_leave_a_gpu_that_is_gone(db: Session, dataset: Dataset) -> None:
    """Otherwise a job that was queued for a GPU worker waits for ever once that one is lost."""
    anywhere = make_job(db, dataset, device="auto", queue="gpu")
    only_there = make_job(db, dataset, device="cuda", queue="gpu")
    gpu = register(db, "gpu")
    assert workers.leave_dead_gpus(db, live_seconds=15) == 0
    lose(db, gpu)
    assert workers.leave_dead_gpus(db, live_seconds=15) == 1
    assert reread(db, anywhere.id).queue == "cpu"
    assert reread(db, only_there.id).queue == "gpu"
