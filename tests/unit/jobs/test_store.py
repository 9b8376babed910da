import threading
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from rnn.config import GenerationConfig
from service.db.engine import Database
from service.db.paging import PageRequest
from service.db.tables import Dataset
from service.errors import (
    ConflictError,
    ModelTaskMismatchError,
    NotFoundError,
    QuotaExceededError,
)
from service.jobs import endings, store
from service.jobs.quotas import Quota
from service.jobs.states import JobState
from tests.job_records import (
    events_of,
    make_dataset,
    make_job,
    make_workspace,
    reasons_of,
    reread,
    take,
)


def test_a_submitted_job_is_queued_with_its_first_event(db: Session, dataset: Dataset) -> None:
    job = make_job(db, dataset, labels={"team": "north"})
    row = store.get(db, dataset.workspace_id, job.id)
    assert (row.job.state, row.job.attempt, row.version, row.queue_position) == (
        "queued",
        0,
        None,
        1,
    )
    first = events_of(db, job.id)[0]
    assert (first.seq, first.data["reason"]) == (1, "submitted")


def test_positions_follow_priority_and_age_in_a_queue(db: Session, dataset: Dataset) -> None:
    jobs = [make_job(db, dataset, priority=priority) for priority in (0, 0, 3)]
    elsewhere = make_job(db, dataset, queue="gpu")
    rows, _ = list_all(db, dataset)
    positions = {row.job.id: row.queue_position for row in rows}
    assert [positions[job.id] for job in jobs] == [2, 3, 1]
    assert positions[elsewhere.id] == 1


def test_the_quota_counts_queued_jobs_of_the_workspace(db: Session, dataset: Dataset) -> None:
    make_job(db, dataset)
    take(db)
    make_job(db, dataset, defaults=Quota(queued=1))
    with pytest.raises(QuotaExceededError) as refused:
        make_job(db, dataset, defaults=Quota(queued=1))
    assert "1 jobs of this workspace are queued" in refused.value.detail
    make_job(db, make_dataset(db, make_workspace(db, "two").id), defaults=Quota(queued=1))


def test_the_quota_holds_against_submissions_at_the_same_time(database: Database) -> None:
    with database.transaction() as db:
        dataset = make_dataset(db, make_workspace(db).id)
    refused = []

    def submit() -> None:
        try:
            with database.transaction() as db:
                make_job(db, dataset, defaults=Quota(queued=3))
        except QuotaExceededError as error:
            refused.append(error)

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 5


def test_a_name_cannot_be_queued_for_two_tasks(db: Session, dataset: Dataset) -> None:
    make_job(db, dataset, model_name="x")
    other = GenerationConfig(task="text-generation").model_dump(mode="json")
    with pytest.raises(ModelTaskMismatchError):
        make_job(db, dataset, model_name="x", config=other)


def test_list_filters_and_pages(db: Session, dataset: Dataset) -> None:
    jobs = [make_job(db, dataset).id for _ in range(3)]
    store.request_cancel(db, dataset.workspace_id, jobs[0])
    queued, _ = list_all(db, dataset, state=JobState.QUEUED)
    assert [row.job.id for row in queued] == jobs[:0:-1]
    page, has_more = list_all(db, dataset, limit=2)
    assert ([row.job.id for row in page], has_more) == (jobs[:0:-1], True)
    rest, has_more = list_all(db, dataset, after=jobs[1])
    assert ([row.job.id for row in rest], has_more) == (jobs[:1], False)
    assert list_all(db, dataset, task="text-generation")[0] == []


def test_a_job_of_another_workspace_is_not_there(db: Session, dataset: Dataset) -> None:
    job = make_job(db, dataset)
    stranger = make_workspace(db, "two").id
    with pytest.raises(NotFoundError):
        store.get(db, stranger, job.id)
    with pytest.raises(NotFoundError):
        store.request_cancel(db, stranger, job.id)
    with pytest.raises(NotFoundError):
        store.get(db, dataset.workspace_id, uuid4())


def test_cancel_of_a_queued_job_is_immediate_and_repeatable(db: Session, dataset: Dataset) -> None:
    job = make_job(db, dataset)
    for _ in range(2):
        assert store.request_cancel(db, dataset.workspace_id, job.id).job.state == "cancelled"
    assert reasons_of(db, job.id) == ["submitted", "cancelled"]


def test_cancel_of_a_running_job_asks_once(db: Session, dataset: Dataset) -> None:
    job = make_job(db, dataset)
    take(db)
    for _ in range(2):
        row = store.request_cancel(db, dataset.workspace_id, job.id)
        assert row.job.state == "running"
        assert row.job.cancel_requested_at is not None
    assert reread(db, job.id).last_event_seq == 3


def test_cancel_of_a_failed_job_is_a_conflict(db: Session, dataset: Dataset) -> None:
    job = make_job(db, dataset)
    endings.fail(db, take(db).attempt, "diverged", "nan")
    with pytest.raises(ConflictError):
        store.request_cancel(db, dataset.workspace_id, job.id)


def list_all(
    db: Session,
    dataset: Dataset,
    *,
    limit: int = 50,
    after: UUID | None = None,
    state: JobState | None = None,
    task: str | None = None,
) -> tuple[list[store.JobRow], bool]:
    page = PageRequest(limit=limit, after=after)
    rows, has_more = store.list_jobs(db, dataset.workspace_id, page, state=state, task=task)
    return list(rows), has_more
