import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from service.db.engine import Database
from service.db.tables import Dataset, JobAttempt, Workspace
from service.errors import QuotaExceededError
from service.jobs import endings, quotas
from service.jobs.quotas import DEFAULT, Quota
from tests.job_records import look_for_work, make_dataset, make_job, make_workspace, take


def own(db: Session, dataset: Dataset) -> Workspace:
    return db.get_one(Workspace, dataset.workspace_id)


def test_a_workspace_may_have_limits_of_its_own(db: Session, dataset: Dataset) -> None:
    workspace = own(db, dataset)
    defaults = Quota(queued=10, running=2, minutes=30)
    assert quotas.quota_of(workspace, defaults) == defaults
    quotas.set_quota(db, workspace, {"queued": 3, "minutes": None})
    quotas.set_quota(db, workspace, {"running": 1})
    assert quotas.quota_of(workspace, defaults) == Quota(3, 1, None)
    quotas.set_quota(db, workspace, {"queued": DEFAULT, "minutes": 0})
    assert workspace.quota == {"running": 1, "minutes": 0}
    assert quotas.quota_of(workspace, defaults) == Quota(10, 1, 0)


def test_the_own_limit_counts_at_a_submission(db: Session, dataset: Dataset) -> None:
    quotas.set_quota(db, own(db, dataset), {"queued": 1})
    make_job(db, dataset, defaults=Quota(queued=0))
    with pytest.raises(QuotaExceededError, match="1 jobs of this workspace are queued, and 1"):
        make_job(db, dataset, defaults=Quota(queued=9))


def test_no_more_run_than_allowed(db: Session, dataset: Dataset) -> None:
    """The other workspace's job comes next, though it is less urgent."""
    other = make_dataset(db, make_workspace(db, "two").id)
    limits = Quota(running=1)
    first, second = (make_job(db, dataset, priority=5) for _ in range(2))
    third = make_job(db, other)
    claims = [look_for_work(db, defaults=limits) for _ in range(3)]
    assert [claimed and claimed.job.id for claimed in claims] == [first.id, third.id, None]
    endings.release(db, claims[0].attempt)  # type: ignore[union-attr]
    endings.fail(db, take(db).attempt, "diverged", "nan")
    claimed = look_for_work(db, defaults=limits)
    assert claimed is not None
    assert claimed.job.id == second.id


def test_no_more_run_than_allowed_with_many_claims_at_the_same_time(database: Database) -> None:
    with database.transaction() as db:
        dataset = make_dataset(db, make_workspace(db).id)
        for _ in range(8):
            make_job(db, dataset)
    start, taken = threading.Barrier(6), list[object]()

    def work() -> None:
        start.wait()
        with database.transaction() as db:
            taken.append(look_for_work(db, defaults=Quota(running=2)))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 6
    assert sum(claimed is not None for claimed in taken) == 2


def test_a_claim_that_finds_a_workspace_full_holds_it_up_for_nobody(database: Database) -> None:
    """Two claims that each held the row of one full workspace waited for that of the other."""
    limits = Quota(running=1)
    with database.transaction() as db:
        workspace = make_workspace(db)
        dataset = make_dataset(db, workspace.id)
        make_job(db, dataset)
        make_job(db, dataset)
        take(db)
    with database.transaction() as claiming, database.transaction() as db:
        assert look_for_work(claiming, defaults=limits) is None
        quotas.set_quota(db, db.get_one(Workspace, workspace.id), {"running": 2})


def test_minutes_are_those_of_all_attempts_within_a_day(db: Session, dataset: Dataset) -> None:
    now = func.clock_timestamp()
    other = make_dataset(db, make_workspace(db, "two").id)
    times = ((30, 10), (24 * 60 + 5, 24 * 60 - 5), (49 * 60, 48 * 60), (5, None))
    for began, ended in times:
        make_job(db, dataset)
        attempt = take(db).attempt
        changes = {"started_at": now - timedelta(minutes=began)}
        if ended is not None:
            endings.fail(db, attempt, "diverged", "nan")
            changes["ended_at"] = now - timedelta(minutes=ended)
        its = JobAttempt.job_id == attempt.job_id
        db.execute(update(JobAttempt).where(its).values(changes))
    make_job(db, other)
    take(db)
    assert quotas.minutes_used(db, dataset.workspace_id) == pytest.approx(20 + 5 + 5, abs=0.5)


def test_used_up_minutes_stop_submissions_and_claims(db: Session, dataset: Dataset) -> None:
    make_job(db, dataset)
    make_job(db, dataset)
    take(db)
    began = func.clock_timestamp() - timedelta(minutes=10)
    db.execute(update(JobAttempt).values(started_at=began))
    assert look_for_work(db, defaults=Quota(minutes=10)) is None
    with pytest.raises(QuotaExceededError, match="has trained for 10 minutes within 24 hours"):
        make_job(db, dataset, defaults=Quota(minutes=10))
    make_job(db, dataset, defaults=Quota(minutes=11))
    assert look_for_work(db, defaults=Quota(minutes=11)) is not None
