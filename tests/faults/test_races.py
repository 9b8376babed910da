"""Changes of jobs at the same moment: each order of them has an answer, and no row is left behind.

Nothing here waits for its turn but on the locks of the rows. A deadlock would end one of the two
transactions with an error, which fails its test.
"""

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.datasets.store import get_dataset
from service.db.engine import Database
from service.db.tables import Dataset, Job, ModelVersion
from service.errors import ConflictError, ValidationError
from service.jobs import endings, store
from service.jobs.endings import Trained
from service.jobs.quotas import UNLIMITED
from service.jobs.states import TERMINAL, JobState
from service.jobs.transitions import Attempt
from service.jobs.wake import Waker
from service.settings import Settings
from tests.job_records import (
    ends_of,
    events_of,
    let_lease_run_out,
    look_for_work,
    make_dataset,
    make_job,
    make_workspace,
    reread,
    take,
)
from workers.reaper import Reaper

RACES = 25
TRAINED = Trained("x", "a" * 64, {}, 1, {})
HOLDS = {"paused": True, "pause requested": True, "resumed": False}

Change = Callable[[Session], Any]


@pytest.fixture
def dataset(database: Database) -> Dataset:
    with database.transaction() as db:
        return make_dataset(db, make_workspace(db).id)


def race(database: Database, *changes: Change) -> list[bool]:
    """Runs each in a transaction of its own, all at once; whether each was accepted."""
    start = threading.Barrier(len(changes))
    accepted: dict[int, bool] = {}
    broken: list[BaseException] = []

    def run(number: int, change: Change) -> None:
        start.wait()
        try:
            with database.transaction() as db:
                change(db)
            accepted[number] = True
        except (ConflictError, ValidationError):
            accepted[number] = False
        except BaseException as error:
            broken.append(error)

    threads = [threading.Thread(target=run, args=each) for each in enumerate(changes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not broken, broken
    return [accepted[number] for number in range(len(changes))]


def running(database: Database, dataset: Dataset, **arguments: Any) -> Attempt:
    with database.transaction() as db:
        job = make_job(db, dataset, **arguments)
        claimed = take(db)
    assert claimed.job.id == job.id
    return claimed.attempt


def waiting(database: Database, dataset: Dataset, after: list[UUID]) -> UUID:
    with database.transaction() as db:
        return make_job(db, dataset, after=after).id


def drop(database: Database, dataset: Dataset) -> None:
    """Leaves nothing to claim to the next race."""
    with database.transaction() as db:
        for job_id in db.scalars(select(Job.id).where(Job.state.not_in(TERMINAL))):
            store.request_cancel(db, dataset.workspace_id, job_id)


def finish(attempt: Attempt) -> Change:
    return lambda db: endings.finish(db, attempt, TRAINED, code_version="1")


def release(attempt: Attempt) -> Change:
    return lambda db: endings.release(db, attempt)


def change(name: str, dataset: Dataset, job_id: UUID) -> Change:
    function = getattr(store, name)
    return lambda db: function(db, dataset.workspace_id, job_id)


def test_pause_resume_cancel_and_completion(database: Database, dataset: Dataset) -> None:
    """One end each time; an accepted cancel is kept, and nothing of a pause is left."""
    for number in range(RACES):
        attempt = running(database, dataset, model_name=f"m{number}")
        asked = (change(name, dataset, attempt.job_id) for name in ("pause", "resume"))
        cancel = change("request_cancel", dataset, attempt.job_id)
        _, _, cancelled, _ = race(database, *asked, cancel, finish(attempt))
        with database.transaction() as db:
            job, events = reread(db, attempt.job_id), events_of(db, attempt.job_id)
            models = db.scalars(select(ModelVersion).filter_by(job_id=job.id)).all()
        assert (job.state, len(models)) == (("cancelled", 0) if cancelled else ("succeeded", 1))
        assert (job.paused_at, job.pause_requested_at) == (None, None)
        assert len(ends_of(events)) == 1
        assert [event.seq for event in events] == list(range(1, len(events) + 1))


def test_pause_resume_cancel_and_the_stop_of_the_trainer(
    database: Database, dataset: Dataset
) -> None:
    """The job is held if and only if the last that was said is that it be."""
    for _ in range(RACES):
        attempt = running(database, dataset)
        race(database, change("pause", dataset, attempt.job_id))
        names = ("pause", "resume", "resume", "pause")
        asked = (change(name, dataset, attempt.job_id) for name in names)
        race(database, *asked, release(attempt))
        with database.transaction() as db:
            job, events = reread(db, attempt.job_id), events_of(db, attempt.job_id)
            said = [HOLDS[e.data["text"]] for e in events if e.type == "message"]
            assert (job.state, job.pause_requested_at) == (JobState.QUEUED, None)
            assert (job.paused_at is not None) is said[-1]
            assert (look_for_work(db) is None) is said[-1]
        cancel = change("request_cancel", dataset, attempt.job_id)
        resume, pause = (change(name, dataset, attempt.job_id) for name in ("resume", "pause"))
        race(database, cancel, resume, pause)
        with database.transaction() as db:
            job = reread(db, attempt.job_id)
            if job.state == JobState.RUNNING:  # as it was claimed above
                assert endings.release(db, Attempt(job.id, 2)) is JobState.CANCELLED
            else:
                assert job.state == JobState.CANCELLED


def test_two_that_a_job_waits_for_end_together(database: Database, dataset: Dataset) -> None:
    """Each saw that the other was not there yet: the job would wait for ever."""
    for _ in range(RACES):
        # Of other models: two versions of one are registered one after the other anyway.
        attempts = [running(database, dataset, model_name=name) for name in "ab"]
        job_id = waiting(database, dataset, [attempt.job_id for attempt in attempts])
        assert race(database, *(finish(attempt) for attempt in attempts)) == [True, True]
        with database.transaction() as db:
            texts = [e.data["text"] for e in events_of(db, job_id) if e.type == "message"]
            assert texts == ["waits for no other job"]
            assert take(db).job.id == job_id


def test_one_that_a_job_waits_for_fails_while_the_other_succeeds(
    database: Database, dataset: Dataset
) -> None:
    for _ in range(RACES):
        good, bad = (running(database, dataset) for _ in range(2))
        job_id = waiting(database, dataset, [good.job_id, bad.job_id])
        race(database, finish(good), lambda db, bad=bad: endings.fail(db, bad, "diverged", "nan"))
        with database.transaction() as db:
            assert reread(db, job_id).state == JobState.FAILED
            assert len(ends_of(events_of(db, job_id))) == 1


@pytest.mark.parametrize("ending", [JobState.SUCCEEDED, JobState.CANCELLED])
def test_a_submission_races_the_end_of_what_it_waits_for(
    database: Database, dataset: Dataset, ending: JobState
) -> None:
    """On the same data set: its row was locked by the one and needed by the other."""
    for _ in range(RACES):
        attempt = running(database, dataset)

        def submit(db: Session, after: UUID = attempt.job_id) -> None:
            get_dataset(db, dataset.workspace_id, dataset.id, keep=True)
            make_job(db, dataset, after=[after])

        def cancel(db: Session, attempt: Attempt = attempt) -> None:
            store.request_cancel(db, dataset.workspace_id, attempt.job_id)
            endings.release(db, attempt)

        end = finish(attempt) if ending is JobState.SUCCEEDED else cancel
        submitted, _ = race(database, submit, end)
        with database.transaction() as db:
            newest = db.scalars(select(Job).order_by(Job.id.desc())).first()
            assert newest is not None
            if ending is JobState.SUCCEEDED:
                assert submitted
                assert take(db).job.id == newest.id
            elif submitted:
                assert newest.state == JobState.FAILED
            else:
                assert newest.id == attempt.job_id
        drop(database, dataset)


def test_a_retry_races_the_end_of_what_the_job_waits_for(
    database: Database, dataset: Dataset
) -> None:
    for _ in range(RACES):
        attempt = running(database, dataset)
        job_id = waiting(database, dataset, [attempt.job_id])

        def retry(db: Session, job_id: UUID = job_id) -> None:
            store.retry(db, dataset.workspace_id, job_id, {}, defaults=UNLIMITED)

        race(database, lambda db, attempt=attempt: endings.fail(db, attempt, "diverged", "nan"))
        race(database, lambda db, first=attempt.job_id: retry(db, first))
        with database.transaction() as db:
            again = take(db).attempt
        assert race(database, retry, finish(again)) == [True, True]
        with database.transaction() as db:
            assert take(db).job.id == job_id
        drop(database, dataset)


def test_failures_that_reach_the_same_jobs_in_other_orders(
    database: Database, dataset: Dataset
) -> None:
    """With a submission that waits for two of these: whoever waits, waits for a newer job."""
    for _ in range(RACES):
        one, two = (waiting(database, dataset, []) for _ in range(2))
        low = waiting(database, dataset, [one])
        middle = waiting(database, dataset, [two])
        high = waiting(database, dataset, [one, middle])
        last = waiting(database, dataset, [low, high])
        cancels = [change("request_cancel", dataset, job_id) for job_id in (one, two)]
        race(
            database,
            *cancels,
            lambda db, after=(middle, low): make_job(db, dataset, after=after),
            lambda db, after=(last, low): make_job(db, dataset, after=after),
        )
        with database.transaction() as db:
            states = db.scalars(select(Job.state).where(Job.id > two)).all()
        assert set(states) == {JobState.FAILED}


def test_lost_workers_are_given_up_while_jobs_are_submitted_behind_theirs(
    settings: Settings, database: Database, dataset: Dataset
) -> None:
    """The reaper held the rows of all of them, and waited for one that a submission held."""
    reaper = Reaper(
        settings.model_copy(update={"max_crashes_without_progress": 1}),
        database,
        Waker("unix:///nowhere.sock"),
    )
    for _ in range(RACES):
        first = running(database, dataset)
        behind = waiting(database, dataset, [first.job_id])
        second = running(database, dataset, priority=1)
        with database.transaction() as db:
            for attempt in (second, first):
                let_lease_run_out(db, attempt)
        race(
            database,
            lambda _: reaper.tick(),
            lambda db, after=(behind, second.job_id): make_job(db, dataset, after=after),
        )
        with database.transaction() as db:
            assert set(db.scalars(select(Job.state))) == {JobState.FAILED}
