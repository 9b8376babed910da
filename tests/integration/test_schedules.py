"""Schedules as they run in production: by the process of the reaper, beside workers."""

from typing import Any
from uuid import UUID

from sqlalchemy import select

from benchmarks.faults import scripted
from service.datasets import aliases
from service.db.engine import Database
from service.db.tables import Dataset, Job
from tests.integration.machine import Machine, wait_for
from tests.job_records import make_workspace
from tests.schedule_records import FORECASTING, come_due, keep_dataset, make_schedule, reread

REAPER = "workers.reaper"


def upload(machine: Machine, database: Database) -> Dataset:
    with database.transaction() as db:
        workspace_id = make_workspace(db).id
    return keep_dataset(database, machine.artifacts, workspace_id)


def job_on(dataset: str) -> dict[str, Any]:
    training = {"seed": scripted.FINE, "max_steps": 10}
    return {"task": FORECASTING, "dataset": dataset, "training": training}


def test_a_schedule_trains_again_and_again(machine: Machine, database: Database) -> None:
    dataset = upload(machine, database)
    with database.transaction() as db:
        aliases.move_alias(db, dataset.workspace_id, "latest", dataset.id)
    schedule = make_schedule(database, dataset, job=job_on("latest"))
    machine.start_worker()
    machine.start_worker(REAPER)
    first = wait_for(lambda: reread(database, schedule.id).last_job_id, "the first job")
    machine.wait_state(first, "succeeded")
    come_due(database, schedule.id)

    def second() -> UUID | None:
        last = reread(database, schedule.id).last_job_id
        return last if last != first else None

    job = machine.wait_state(wait_for(second, "the second job"), "succeeded")
    assert job.dataset_id == dataset.id


def test_two_reapers_submit_each_time_once(machine: Machine, database: Database) -> None:
    dataset = upload(machine, database)
    job = job_on(str(dataset.id))
    made = [make_schedule(database, dataset, name=f"s{n}", job=job) for n in range(12)]
    reapers = [machine.start_worker(REAPER) for _ in range(2)]

    def last_jobs() -> set[UUID | None]:
        return {reread(database, each.id).last_job_id for each in made}

    wait_for(lambda: None not in last_jobs(), "all jobs")
    for reaper in reapers:
        reaper.terminate()
        assert reaper.wait(10) == 0
    with database.transaction() as db:
        jobs = db.scalars(select(Job.id)).all()
    assert sorted(jobs) == sorted(job_id for job_id in last_jobs() if job_id is not None)
    assert len(jobs) == len(made)
