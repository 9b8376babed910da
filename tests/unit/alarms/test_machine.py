"""Each alarm with its cause there and gone."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from service.alarms.kinds import Alarm, AlarmKind
from service.alarms.machine import machine_alarms
from service.db.engine import Database
from service.db.tables import Base, Dataset, Heartbeat, Job, JobAttempt, Worker, Workspace
from service.heartbeats import REAPER, beat
from service.jobs import store, workers
from service.jobs.claims import claim
from service.jobs.endings import crash
from service.jobs.quotas import UNLIMITED
from service.settings import Settings
from tests.job_records import make_dataset, make_job, make_workspace

IDLE = AlarmKind.JOBS_WAIT_WHILE_SLOTS_IDLE


@pytest.fixture
def db(database: Database) -> Iterator[Session]:
    with database.transaction() as db:
        beat(db, REAPER)
        yield db


@pytest.fixture
def dataset(db: Session) -> Dataset:
    return make_dataset(db, make_workspace(db).id)


def age(db: Session, table: type[Base], seconds: float, column: str, **of: Any) -> None:
    """Moves a time of these rows into the past."""
    past = func.clock_timestamp() - timedelta(seconds=seconds)
    db.execute(update(table).filter_by(**of).values({column: past}))
    db.expire_all()


def start_worker(
    db: Session, queue: str = "cpu", *, slots: int = 1, ago_seconds: float = 60.0
) -> UUID:
    worker_id = uuid4()
    workers.register(
        db, worker_id, hostname="host", pid=7, queue=queue, slots=slots, devices={"cores": 1}
    )
    age(db, Worker, ago_seconds, "started_at", id=worker_id)
    return worker_id


def wait(db: Session, dataset: Dataset, seconds: float = 16.0, **changes: Any) -> Job:
    job = make_job(db, dataset, **changes)
    age(db, Job, seconds, "queued_at", id=job.id)
    return job


def take(db: Session, worker_id: UUID, *queues: str, lease_seconds: float = 60.0) -> Any:
    claimed = claim(
        db,
        worker_id=worker_id,
        queues=queues or ("cpu",),
        lease_seconds=lease_seconds,
        defaults=UNLIMITED,
    )
    assert claimed is not None
    return claimed


def alarms(db: Session, settings: Settings) -> list[Alarm]:
    return machine_alarms(db, settings)


def kinds(db: Session, settings: Settings) -> list[AlarmKind]:
    return [alarm.kind for alarm in alarms(db, settings)]


def test_a_machine_without_trouble_has_no_alarm(
    db: Session, dataset: Dataset, settings: Settings
) -> None:
    worker_id = start_worker(db)
    wait(db, dataset)
    take(db, worker_id)
    make_job(db, dataset)  # just submitted
    assert alarms(db, settings) == []


def test_a_job_waits_while_a_slot_is_idle(
    db: Session, dataset: Dataset, settings: Settings
) -> None:
    worker_id = start_worker(db, slots=2)
    jobs = [wait(db, dataset, seconds) for seconds in (16, 20)]
    (alarm,) = alarms(db, settings)
    assert (alarm.kind, alarm.count) == (IDLE, 2)
    db.refresh(jobs[1])
    assert alarm.since == jobs[1].queued_at
    assert "2 slots" in alarm.message
    take(db, worker_id)
    (alarm,) = alarms(db, settings)
    assert (alarm.kind, alarm.count) == (IDLE, 1)
    take(db, worker_id)
    assert alarms(db, settings) == []


def test_a_slot_that_was_busy_just_now_is_not_idle(
    db: Session, dataset: Dataset, settings: Settings
) -> None:
    """Under many short jobs, each slot is between two of them for a moment."""
    worker_id = start_worker(db)
    wait(db, dataset)
    wait(db, dataset)
    attempt = take(db, worker_id).attempt
    crash(db, attempt, "killed", max_crashes=9)
    assert kinds(db, settings) == []
    age(db, JobAttempt, 16, "ended_at", job_id=attempt.job_id)
    assert kinds(db, settings) == [IDLE]


def test_a_worker_that_just_started_is_given_time(
    db: Session, dataset: Dataset, settings: Settings
) -> None:
    start_worker(db, ago_seconds=10)
    wait(db, dataset)
    assert kinds(db, settings) == []


def test_a_gpu_worker_serves_the_cpu_queue_too(
    db: Session, dataset: Dataset, settings: Settings
) -> None:
    start_worker(db, "gpu")
    wait(db, dataset)
    assert kinds(db, settings) == [IDLE]


def test_held_jobs_are_no_alarm_and_count_from_when_they_are_let_go(
    db: Session, dataset: Dataset, settings: Settings
) -> None:
    start_worker(db)
    job = wait(db, dataset)
    store.pause(db, dataset.workspace_id, job.id)
    assert kinds(db, settings) == []
    store.resume(db, dataset.workspace_id, job.id)
    assert kinds(db, settings) == []
    age(db, Job, 16, "queued_at", id=job.id)
    assert kinds(db, settings) == [IDLE]


@pytest.mark.parametrize("quota", [{"running": 1}, {"minutes": 0}])
def test_a_workspace_at_its_quota_waits_for_itself(
    quota: dict[str, int], db: Session, dataset: Dataset, settings: Settings
) -> None:
    worker_id = start_worker(db, slots=2)
    wait(db, dataset)
    take(db, worker_id)
    wait(db, dataset)
    assert kinds(db, settings) == [IDLE]
    db.get_one(Workspace, dataset.workspace_id).quota = quota
    db.flush()
    assert kinds(db, settings) == []


def test_jobs_whose_queue_nobody_serves(db: Session, dataset: Dataset, settings: Settings) -> None:
    start_worker(db, "cpu")
    wait(db, dataset, queue="gpu", device="cuda")
    (alarm,) = alarms(db, settings)
    assert (alarm.kind, alarm.count) == (AlarmKind.NO_WORKER, 1)
    assert "queue gpu" in alarm.message
    start_worker(db, "gpu", ago_seconds=0)
    assert alarms(db, settings) == []


def test_a_dead_worker_serves_nothing(db: Session, dataset: Dataset, settings: Settings) -> None:
    worker_id = start_worker(db)
    wait(db, dataset)
    age(db, Worker, 16, "seen_at", id=worker_id)
    assert kinds(db, settings) == [AlarmKind.NO_WORKER, AlarmKind.WORKER_LOST]


def test_a_worker_that_went_silent_is_lost_for_an_hour(db: Session, settings: Settings) -> None:
    worker_id = start_worker(db)
    age(db, Worker, 20, "seen_at", id=worker_id)
    (alarm,) = alarms(db, settings)
    assert (alarm.kind, alarm.count) == (AlarmKind.WORKER_LOST, 1)
    assert "host (process 7)" in alarm.message
    workers.seen(db, worker_id, {"cores": 1})
    assert alarms(db, settings) == []
    age(db, Worker, 3_601, "seen_at", id=worker_id)
    assert alarms(db, settings) == []


def test_of_many_lost_workers_a_few_are_named(db: Session, settings: Settings) -> None:
    for _ in range(5):
        start_worker(db)
    age(db, Worker, 20, "seen_at")
    (alarm,) = alarms(db, settings)
    assert alarm.count == 5
    assert alarm.message.endswith("and 2 more.")


def test_a_worker_that_said_goodbye_is_not_lost(db: Session, settings: Settings) -> None:
    worker_id = start_worker(db)
    workers.stopped(db, worker_id)
    age(db, Worker, 60, "seen_at", id=worker_id)
    assert alarms(db, settings) == []


def test_a_lease_that_nobody_ends(db: Session, dataset: Dataset, settings: Settings) -> None:
    worker_id = start_worker(db)
    job = make_job(db, dataset)
    take(db, worker_id)
    age(db, Job, 19, "lease_expires_at", id=job.id)
    assert alarms(db, settings) == []
    age(db, Job, 21, "lease_expires_at", id=job.id)
    (alarm,) = alarms(db, settings)
    assert (alarm.kind, alarm.count) == (AlarmKind.LEASE_OVERDUE, 1)
    assert alarm.since == store.find(db, dataset.workspace_id, job.id).lease_expires_at


def test_a_silent_reaper(db: Session, settings: Settings) -> None:
    age(db, Heartbeat, 19, "seen_at", name=REAPER)
    assert alarms(db, settings) == []
    age(db, Heartbeat, 21, "seen_at", name=REAPER)
    assert kinds(db, settings) == [AlarmKind.REAPER_SILENT]
    slower = settings.model_copy(update={"reaper_interval_seconds": 10.0})
    assert kinds(db, slower) == []
    beat(db, REAPER)
    assert alarms(db, settings) == []


def test_a_new_installation_gives_the_reaper_time(database: Database, settings: Settings) -> None:
    """The migration says that it was seen, so the first seconds are no alarm."""
    with database.transaction() as db:
        assert db.get_one(Heartbeat, REAPER).seen_at is not None
