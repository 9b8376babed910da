from datetime import timedelta
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, text, update

from service.db.engine import Database, make_engine
from service.db.tables import Dataset, IdempotencyKey, Job
from service.jobs import workers
from service.jobs.states import JobState
from service.jobs.wake import Waker
from service.settings import Settings
from tests.job_records import make_dataset, make_job, make_workspace, reread, take
from workers.reaper import LOCK, Reaper


class Wakes(Waker):
    """Remembers the queues that were woken."""

    def __init__(self) -> None:
        self.queues: list[str] = []

    def wake(self, queue: str, *, passes: int = 0) -> bool:  # noqa: ARG002
        self.queues.append(queue)
        return True


@pytest.fixture
def wakes() -> Wakes:
    return Wakes()


@pytest.fixture
def reaper(settings: Settings, database: Database, wakes: Wakes) -> Reaper:
    return Reaper(settings, database, wakes)


@pytest.fixture
def dataset(database: Database) -> Dataset:
    with database.transaction() as db:
        return make_dataset(db, make_workspace(db).id)


def lost_job(database: Database, dataset: Dataset) -> Job:
    """A running job whose lease has run out."""
    with database.transaction() as db:
        make_job(db, dataset)
        job = take(db).job
        past = func.clock_timestamp() - timedelta(seconds=1)
        db.execute(update(Job).where(Job.id == job.id).values(lease_expires_at=past))
    return job


def state_of(database: Database, job: Job) -> str:
    with database.transaction() as db:
        return reread(db, job.id).state


def test_a_lost_job_goes_back_and_a_worker_is_woken(
    reaper: Reaper, wakes: Wakes, database: Database, dataset: Dataset
) -> None:
    with database.transaction() as db:
        workers.register(db, uuid4(), hostname="h", pid=1, queue="cpu", slots=1, devices={})
    job = lost_job(database, dataset)
    reaper.tick()
    assert state_of(database, job) == JobState.QUEUED
    assert wakes.queues == ["cpu"]


def test_nobody_is_woken_for_nothing(reaper: Reaper, wakes: Wakes) -> None:
    reaper.tick()
    assert wakes.queues == []


def test_while_another_reaper_ticks_nothing_is_done(
    reaper: Reaper, database: Database, dataset: Dataset
) -> None:
    job = lost_job(database, dataset)
    with database.transaction() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        reaper.tick()
        assert state_of(database, job) == JobState.RUNNING
    reaper.tick()
    assert state_of(database, job) == JobState.QUEUED


def test_after_an_outage_workers_get_time_for_a_heartbeat(
    settings: Settings, database: Database, wakes: Wakes, dataset: Dataset
) -> None:
    """While the database was away no lease could be prolonged: that is nobody's crash."""
    url = settings.database_url.get_secret_value()
    nowhere = url.replace(url.rpartition("/")[2].partition("?")[0], "no_such_database")
    away = Database(make_engine(settings.model_copy(update={"database_url": SecretStr(nowhere)})))
    job = lost_job(database, dataset)
    reaper = Reaper(settings, away, wakes)
    reaper.tick()
    reaper._database = database
    reaper.tick()
    assert state_of(database, job) == JobState.RUNNING
    reaper._spare_until = 0.0
    reaper.tick()
    assert state_of(database, job) == JobState.QUEUED


def test_jobs_that_waited_too_long_are_failed_one_after_the_other(
    reaper: Reaper, database: Database, dataset: Dataset
) -> None:
    with database.transaction() as db:
        jobs = [make_job(db, dataset) for _ in range(3)]
        past = func.clock_timestamp() - timedelta(seconds=1)
        late = Job.id.in_([job.id for job in jobs[:2]])
        db.execute(update(Job).where(late).values(deadline=past))
    reaper.tick()
    assert [state_of(database, job) for job in jobs] == ["failed", "failed", "queued"]


def test_old_idempotency_keys_are_forgotten(
    reaper: Reaper, database: Database, dataset: Dataset
) -> None:
    with database.transaction() as db:
        for key, hours in (("old", 25), ("new", 23)):
            created = func.now() - timedelta(hours=hours)
            row = IdempotencyKey(
                workspace_id=dataset.workspace_id, key=key, request_sha256="x", created_at=created
            )
            db.add(row)
    reaper.tick()
    with database.transaction() as db:
        assert db.scalars(select(IdempotencyKey.key)).all() == ["new"]
