import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select

from service.artifacts.store import ArtifactStore
from service.datasets import aliases
from service.datasets.store import delete_dataset
from service.db.engine import Database
from service.db.tables import Dataset, Job
from service.errors import ConflictError
from service.jobs import store as jobs
from service.schedules import runs, store
from service.settings import Settings
from tests.schedule_records import FORECASTING, come_due, keep_dataset, reread
from tests.unit.schedules.conftest import MakeSchedule


@pytest.fixture
def run(database: Database, artifacts: ArtifactStore, settings: Settings) -> "Run":
    return Run(database, artifacts, settings)


class Run:
    """One round of the scheduler."""

    def __init__(self, database: Database, artifacts: ArtifactStore, settings: Settings) -> None:
        self.database = database
        self.artifacts = artifacts
        self.settings = settings

    def __call__(self) -> list[Job]:
        return list(runs.run_due(self.database, self.artifacts, self.settings))

    def now(self, workspace_id: UUID, schedule_id: UUID) -> Job:
        _, job = runs.run_now(
            self.database, self.artifacts, self.settings, workspace_id, None, schedule_id
        )
        return job


def jobs_of(database: Database) -> Sequence[Job]:
    with database.transaction() as db:
        return db.scalars(select(Job).order_by(Job.id)).all()


def cancel(database: Database, job: Job) -> None:
    with database.transaction() as db:
        jobs.request_cancel(db, job.workspace_id, job.id)


def test_what_is_due_is_submitted_and_its_next_time_is_set(
    run: Run, make_schedule: MakeSchedule, database: Database, dataset: Dataset
) -> None:
    job = {"task": FORECASTING, "dataset": str(dataset.id), "priority": -3}
    schedule = make_schedule(job=job)
    (made,) = run()
    assert (made.state, made.priority, made.task) == ("queued", -3, FORECASTING)
    after = reread(database, schedule.id)
    assert (after.last_job_id, after.last_error) == (made.id, None)
    assert after.last_run_at is not None
    assert after.next_run_at is not None
    assert after.next_run_at.minute == 0
    assert timedelta() < after.next_run_at - after.last_run_at <= timedelta(hours=1)
    assert run() == []


def test_what_is_not_due_or_not_enabled_is_left(run: Run, make_schedule: MakeSchedule) -> None:
    make_schedule(name="later", due_seconds=-60)
    make_schedule(name="off", enabled=False, due_seconds=None)
    assert run() == []


def test_times_that_were_missed_are_made_up_for_by_one_job(
    run: Run, make_schedule: MakeSchedule, database: Database
) -> None:
    schedule = make_schedule(cron="* * * * *", due_seconds=86_400)
    assert len(run()) == 1
    assert run() == []
    after = reread(database, schedule.id)
    assert after.next_run_at is not None
    assert after.next_run_at > datetime.now(UTC) - timedelta(seconds=1)


def test_while_the_last_job_has_not_ended_a_time_is_skipped_and_said_so(
    run: Run, make_schedule: MakeSchedule, database: Database
) -> None:
    schedule = make_schedule()
    (job,) = run()
    come_due(database, schedule.id)
    assert run() == []
    skipped = reread(database, schedule.id)
    assert skipped.last_error is not None
    assert skipped.last_error["type"] == "conflict"
    assert str(job.id) in skipped.last_error["detail"]
    assert skipped.last_job_id == job.id
    assert skipped.next_run_at is not None
    assert skipped.next_run_at > datetime.now(UTC)
    cancel(database, job)
    come_due(database, schedule.id)
    (second,) = run()
    assert reread(database, schedule.id).last_job_id == second.id
    assert reread(database, schedule.id).last_error is None


def test_an_alias_means_what_it_points_at_when_the_time_comes(
    run: Run,
    make_schedule: MakeSchedule,
    database: Database,
    artifacts: ArtifactStore,
    dataset: Dataset,
) -> None:
    newer = keep_dataset(database, artifacts, dataset.workspace_id, "y\n" + "1\n2\n" * 90)
    point(database, dataset)
    schedule = make_schedule(job={"task": FORECASTING, "dataset": "latest"})
    (first,) = run()
    cancel(database, first)
    point(database, newer)
    come_due(database, schedule.id)
    (second,) = run()
    assert (first.dataset_id, second.dataset_id) == (dataset.id, newer.id)


@pytest.mark.parametrize("gone", ["dataset", "alias"])
def test_a_refused_job_is_shown_and_the_schedule_goes_on(
    gone: str, run: Run, make_schedule: MakeSchedule, database: Database, dataset: Dataset
) -> None:
    reference = str(dataset.id)
    if gone == "alias":
        point(database, dataset)
        reference = "latest"
    schedule = make_schedule(job={"task": FORECASTING, "dataset": reference})
    with database.transaction() as db:
        if gone == "alias":
            aliases.remove_alias(db, dataset.workspace_id, "latest")
        else:
            delete_dataset(db, dataset.workspace_id, dataset.id)
    assert run() == []
    refused = reread(database, schedule.id)
    assert refused.last_error is not None
    assert refused.last_error["type"] == "not-found"
    assert refused.last_job_id is None
    assert refused.next_run_at is not None
    assert refused.next_run_at > datetime.now(UTC)


def test_a_quota_is_a_refusal_too(
    run: Run, make_schedule: MakeSchedule, database: Database, settings: Settings
) -> None:
    run.settings = settings.model_copy(update={"max_queued_jobs": 1})
    first, second = make_schedule(name="a", due_seconds=2), make_schedule(name="b")
    assert len(run()) == 1
    assert reread(database, first.id).last_error is None
    error = reread(database, second.id).last_error
    assert error is not None
    assert error["type"] == "quota-exceeded"


def test_data_that_became_too_small_is_a_refusal_of_the_science(
    run: Run,
    make_schedule: MakeSchedule,
    database: Database,
    artifacts: ArtifactStore,
    dataset: Dataset,
) -> None:
    point(database, dataset)
    schedule = make_schedule(job={"task": FORECASTING, "dataset": "latest"})
    point(database, keep_dataset(database, artifacts, dataset.workspace_id, "y\n1\n2\n"))
    assert run() == []
    error = reread(database, schedule.id).last_error
    assert error is not None
    assert error["type"] == "dataset-too-small"


def test_a_defect_of_one_schedule_holds_up_no_other(
    run: Run, make_schedule: MakeSchedule, database: Database
) -> None:
    """The first one's job is of an older program, the second one's time zone is gone."""
    old = make_schedule(name="old", job={"task": "chess"}, due_seconds=4)
    lost = make_schedule(name="lost", due_seconds=3)
    with database.transaction() as db:
        db.merge(lost).timezone = "Mars/Olympus"
    good = make_schedule(name="good", due_seconds=2)
    assert [job.id for job in run()] == [reread(database, good.id).last_job_id]
    error = reread(database, old.id).last_error
    assert error is not None
    assert error["type"] == "validation-error"
    assert "must be changed" in error["detail"]
    assert len(jobs_of(database)) == 1  # none of the lost one: it is all or nothing


def test_what_nobody_expected_is_kept_as_an_error(
    run: Run, make_schedule: MakeSchedule, database: Database, dataset: Dataset
) -> None:
    run.artifacts.dataset_path(dataset.sha256).unlink()
    job = {"task": FORECASTING, "dataset": str(dataset.id), "data": {"target_columns": ["y"]}}
    schedule = make_schedule(job=job)
    assert run() == []
    error = reread(database, schedule.id).last_error
    assert error is not None
    assert error["type"] == "internal"


def test_many_rounds_at_once_submit_each_time_once(
    run: Run, make_schedule: MakeSchedule, database: Database
) -> None:
    schedules = [make_schedule(name=f"s{n}") for n in range(6)]
    start = threading.Barrier(4)
    submitted: list[UUID] = []

    def round_() -> None:
        start.wait()
        submitted.extend(job.id for job in run())

    threads = [threading.Thread(target=round_) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    submitted.extend(job.id for job in run())
    assert len(submitted) == len(set(submitted)) == len(schedules)
    assert sorted(submitted) == sorted(job.id for job in jobs_of(database))
    assert {reread(database, each.id).last_job_id for each in schedules} == set(submitted)


def test_a_schedule_that_was_changed_since_it_was_seen_is_left_for_the_next_round(
    make_schedule: MakeSchedule, database: Database
) -> None:
    seen = make_schedule()
    with database.transaction() as db:
        store.change(db, db.merge(seen), job={**seen.job, "priority": -1})
    with database.transaction() as db:
        assert store.take(db, seen) is None
        assert store.take(db, reread(database, seen.id)) is not None


def test_run_now_leaves_the_next_time_and_waits_for_the_last_job(
    run: Run, make_schedule: MakeSchedule, database: Database, dataset: Dataset
) -> None:
    schedule = make_schedule(enabled=False, due_seconds=None)
    job = run.now(dataset.workspace_id, schedule.id)
    after = reread(database, schedule.id)
    assert (after.last_job_id, after.next_run_at) == (job.id, None)
    with pytest.raises(ConflictError, match=str(job.id)):
        run.now(dataset.workspace_id, schedule.id)
    cancel(database, job)
    assert run.now(dataset.workspace_id, schedule.id).id != job.id


def point(database: Database, dataset: Dataset) -> None:
    with database.transaction() as db:
        aliases.move_alias(db, dataset.workspace_id, "latest", dataset.id)
