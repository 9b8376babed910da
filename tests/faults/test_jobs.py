"""The job machine under faults, in short: killed and frozen workers, lost messages, races."""

import os
import signal
import threading
from pathlib import Path
from uuid import UUID

import psycopg
import redis
from pydantic import SecretStr
from sqlalchemy import text

from benchmarks.faults.races import race
from service.db.engine import Database, make_engine
from service.db.migrate import migrate
from service.db.tables import Job
from service.embedded.postgres import EmbeddedPostgres
from service.settings import Settings
from tests.integration.machine import Machine, trainers_of, wait_for
from tests.job_records import (
    make_dataset,
    make_job,
    make_workspace,
    outcomes_of,
    take,
)

RACES = 25


def test_cancel_races_completion(database: Database) -> None:
    """One terminal state each time, and no model of a job whose cancel was accepted."""
    assert race(database, RACES, seed=1).total() == RACES


def test_many_claims_at_the_same_time_start_each_job_once(database: Database) -> None:
    with database.transaction() as db:
        dataset = make_dataset(db, make_workspace(db).id)
        jobs = {make_job(db, dataset).id for _ in range(30)}
    claimed: list[UUID] = []

    def work() -> None:
        while True:
            try:
                with database.transaction() as db:
                    claimed.append(take(db).job.id)
            except AssertionError:  # nothing left
                return

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 30
    assert set(claimed) == jobs


def test_a_frozen_worker_wakes_up_to_find_itself_replaced(
    machine: Machine, database: Database
) -> None:
    """SIGSTOP for longer than the lease, then SIGCONT while the successor trains."""
    frozen = machine.start_worker()
    job_id = machine.submit(steps=150)
    machine.wait_checkpoint(job_id)
    (old_trainer,) = trainers_of(frozen)
    frozen.send_signal(signal.SIGSTOP)
    old_trainer.suspend()
    machine.start_worker()
    with machine.reaper():
        wait_for(lambda: machine.job(job_id).attempt == 2, "a second attempt")
        old_trainer.resume()
        os.kill(frozen.pid, signal.SIGCONT)
        machine.wait_state(job_id, "succeeded")
        wait_for(lambda: not old_trainer.is_running(), "the end of the replaced trainer")
    assert machine.job(job_id).attempt == 2
    events = machine.events(job_id)
    taken = next(e.seq for e in events if e.data.get("reason") == "claimed" and e.attempt == 2)
    assert all(event.attempt == 2 for event in events if event.seq >= taken)
    assert frozen.poll() is None  # it goes on to work
    with database.transaction() as db:
        assert outcomes_of(db, job_id) == ["lease_expired", "finished"]


def test_no_job_is_lost_when_redis_forgets_everything(machine: Machine) -> None:
    for _ in range(2):
        machine.start_worker()
    with machine.reaper(), redis.Redis.from_url(machine.settings.redis_url.get_secret_value()) as r:
        jobs = []
        for _ in range(4):
            jobs.append(machine.submit())
            machine.waker.wake("cpu")
            r.flushall()
        for job_id in jobs:
            machine.wait_state(job_id, "succeeded", timeout_seconds=40)


def test_a_restart_of_postgresql_costs_no_attempt(
    servers_folder: Path, quick_settings: Settings, tmp_path: Path
) -> None:
    folder = servers_folder / "own"
    folder.mkdir()
    server = EmbeddedPostgres(folder, folder, durable=False)
    server.start()
    server.wait_ready()
    address = server.url("postgres").replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE DATABASE own")
    settings = quick_settings.model_copy(update={"database_url": SecretStr(server.url("own"))})
    database = Database(make_engine(settings))
    machine = Machine(settings, database, tmp_path)
    try:
        migrate(database.engine)
        machine.start_worker()
        job_id = machine.submit(steps=250)
        machine.wait_checkpoint(job_id)
        with machine.reaper():
            server.stop()
            server.start()
            server.wait_ready()
            database.engine.dispose()
            job = machine.wait_state(job_id, "succeeded", timeout_seconds=40)
            assert job.attempt == 1
            events = machine.events(job_id)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
        with database.transaction() as db:
            assert db.execute(text("SELECT count(*) FROM jobs")).scalar_one() == 1
            assert db.get_one(Job, job_id).progress["step"] == 250
    finally:
        machine.close()
        database.close()
        server.stop()
