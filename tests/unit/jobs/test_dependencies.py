from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from service.db.tables import Dataset, Job
from service.errors import ValidationError
from service.jobs import endings, store
from service.jobs.endings import Trained
from service.jobs.states import JobState
from service.jobs.transitions import claimable_queues
from tests.job_records import (
    events_of,
    look_for_work,
    make_dataset,
    make_job,
    make_workspace,
    reasons_of,
    reread,
    take,
)

TRAINED = Trained("x", "a" * 64, {}, 1, {})


def succeed(db: Session) -> UUID:
    """The job that was to run next succeeds."""
    claimed = take(db)
    endings.finish(db, claimed.attempt, TRAINED, code_version="1")
    return claimed.job.id


def state_of(db: Session, job: Job) -> str:
    return reread(db, job.id).state


def test_a_job_waits_for_all_that_it_comes_after(db: Session, dataset: Dataset) -> None:
    first, second = make_job(db, dataset), make_job(db, dataset)
    last = make_job(db, dataset, priority=9, after=[second.id, first.id])
    row = store.get(db, dataset.workspace_id, last.id)
    assert (row.after, row.queue_position) == ([first.id, second.id], None)
    assert reread(db, last.id).blocked
    assert succeed(db) == first.id
    assert reread(db, last.id).blocked
    assert succeed(db) == second.id
    assert not reread(db, last.id).blocked
    assert events_of(db, last.id)[-1].data["text"] == "waits for no other job"
    assert take(db).job.id == last.id
    assert store.get(db, dataset.workspace_id, last.id).after == [first.id, second.id]


def test_what_has_succeeded_is_not_waited_for(db: Session, dataset: Dataset) -> None:
    done = make_job(db, dataset)
    succeed(db)
    job = make_job(db, dataset, after=[done.id])
    assert take(db).job.id == job.id


def test_what_cannot_be_waited_for_is_named(db: Session, dataset: Dataset) -> None:
    good, failed, cancelled = (make_job(db, dataset) for _ in range(3))
    store.request_cancel(db, dataset.workspace_id, cancelled.id)
    store.pause(db, dataset.workspace_id, good.id)
    endings.fail(db, take(db).attempt, "diverged", "nan")
    strange = make_job(db, make_dataset(db, make_workspace(db, "two").id))
    nowhere = uuid4()
    with pytest.raises(ValidationError) as refused:
        make_job(db, dataset, after=[good.id, strange.id, failed.id, cancelled.id, nowhere])
    assert [(fault.location, fault.message) for fault in refused.value.faults] == [
        (("body", "after", 1), f"there is no job {strange.id} here"),
        (("body", "after", 2), f"the job {failed.id} is failed"),
        (("body", "after", 3), f"the job {cancelled.id} is cancelled"),
        (("body", "after", 4), f"there is no job {nowhere} here"),
    ]


@pytest.mark.parametrize("ending", [JobState.FAILED, JobState.CANCELLED])
def test_a_job_that_did_not_succeed_takes_those_along_that_wait(
    db: Session, dataset: Dataset, ending: JobState
) -> None:
    """Two ways lead to the last one: it fails once."""
    root = make_job(db, dataset)
    sides = [make_job(db, dataset, after=[root.id]) for _ in range(2)]
    last = make_job(db, dataset, after=[side.id for side in sides])
    bystander = make_job(db, dataset)
    if ending is JobState.FAILED:
        endings.fail(db, take(db).attempt, "diverged", "nan")
    else:
        store.request_cancel(db, dataset.workspace_id, root.id)
    assert state_of(db, root) == ending
    for job in (*sides, last):
        row = reread(db, job.id)
        assert (row.state, row.finished_at is not None) == (JobState.FAILED, True)
        assert row.error == {
            "type": "dependency-failed",
            "detail": f"the job {root.id}, which had to succeed before, is {ending}",
        }
        assert reasons_of(db, job.id) == ["submitted", "dependency_failed"]
    assert take(db).job.id == bystander.id


def test_a_job_that_will_run_again_takes_nobody_along(db: Session, dataset: Dataset) -> None:
    root = make_job(db, dataset)
    last = make_job(db, dataset, after=[root.id])
    endings.crash(db, take(db).attempt, "SIGKILL", max_crashes=3)
    endings.release(db, take(db).attempt)
    assert state_of(db, last) == JobState.QUEUED
    succeed(db)
    assert take(db).job.id == last.id


def test_a_long_chain_ends_with_its_first_job(db: Session, dataset: Dataset) -> None:
    """Each end used to call the next one's: a chain of five hundred was too deep, and for ever."""
    root = make_job(db, dataset)
    db.execute(
        text(
            "WITH made AS (INSERT INTO jobs (workspace_id, task, dataset_id, model_name, config,"
            " device, queue, blocked) SELECT workspace_id, task, dataset_id, model_name, config,"
            " device, queue, true FROM jobs, generate_series(1, 510) RETURNING id)"
            " INSERT INTO job_dependencies (job_id, after_id)"
            " SELECT id, coalesce(lag(id) OVER (ORDER BY id), :root) FROM made"
        ),
        {"root": root.id},
    )
    store.request_cancel(db, dataset.workspace_id, root.id)
    counts = db.execute(select(Job.state, func.count()).group_by(Job.state)).all()
    assert dict(counts) == {"cancelled": 1, "failed": 510}


def test_a_paused_job_stays_paused_when_it_waits_for_none_any_more(
    db: Session, dataset: Dataset
) -> None:
    first = make_job(db, dataset)
    last = make_job(db, dataset, after=[first.id])
    store.pause(db, dataset.workspace_id, last.id)
    succeed(db)
    assert not reread(db, last.id).blocked
    assert look_for_work(db) is None
    store.resume(db, dataset.workspace_id, last.id)
    assert take(db).job.id == last.id


def test_a_pause_that_ends_does_not_let_a_job_go_that_waits(db: Session, dataset: Dataset) -> None:
    first = make_job(db, dataset)
    last = make_job(db, dataset, after=[first.id])
    take(db)
    for change in (store.pause, store.resume):
        change(db, dataset.workspace_id, last.id)
    assert look_for_work(db) is None


def claimable(db: Session, job: Job) -> Any:
    return claimable_queues(db, job.id)


def test_workers_are_woken_for_what_an_end_lets_go(db: Session, dataset: Dataset) -> None:
    first = make_job(db, dataset)
    for queue in ("cpu", "gpu", "gpu"):
        make_job(db, dataset, queue=queue, after=[first.id])
    held = make_job(db, dataset, queue="other", after=[first.id])
    store.pause(db, dataset.workspace_id, held.id)
    assert claimable(db, first) == ["cpu"]  # itself
    succeed(db)
    assert claimable(db, first) == ["cpu", "gpu", "gpu"]
    assert claimable(db, held) == []
