"""What is asked often reads a few rows of a long queue, whatever the planner knows of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from pydantic import SecretStr
from sqlalchemy import event, select, text
from sqlalchemy.orm import Session

from benchmarks.faults.backlog import open_workspaces, queue_jobs
from service.alarms.machine import machine_alarms
from service.db.engine import Database
from service.db.paging import PageRequest
from service.db.tables import Job
from service.jobs import store, workers
from service.jobs.claims import FIRST_OFFERS, claim
from service.jobs.endings import expire_deadline, expire_lease
from service.jobs.expectation import queues_now
from service.jobs.preemption import make_room
from service.jobs.quotas import UNLIMITED
from service.settings import Settings
from tests.job_records import look_for_work, make_dataset, make_job, make_workspace, take

WORKSPACES, EACH = 100, 1_000
MOST_ROWS = 2_500  # of jobs, read for one question: those of a workspace, and of a page
BUSY = 8
SETTINGS = Settings(
    database_url=SecretStr(""), redis_url=SecretStr(""), artifact_dir=Path(), alarm_after_seconds=1
)

Ask = Callable[[Session, UUID, UUID], object]  # with the newest job and its workspace
QUESTIONS: dict[str, Ask] = {
    "claim": lambda db, *_: claim(
        db, worker_id=uuid4(), queues=("gpu", "cpu"), lease_seconds=60, defaults=UNLIMITED
    ),
    "position": lambda db, job, workspace: store.get(db, workspace, job),
    "list": lambda db, _, workspace: store.list_jobs(
        db, workspace, PageRequest(limit=20), state=None, task=None
    ),
    "waiting queues": lambda db, *_: workers.waiting_queues(db, live_seconds=60),
    "dead GPUs": lambda db, *_: workers.leave_dead_gpus(db, live_seconds=60),
    "leases": lambda db, *_: expire_lease(db, max_crashes=3),
    "deadlines": lambda db, *_: expire_deadline(db),
    "preemption": lambda db, *_: make_room(db, live_seconds=60, defaults=UNLIMITED),
    "alarms": lambda db, *_: machine_alarms(db, SETTINGS),
    "expectation": lambda db, *_: queues_now(db, ["cpu"], live_seconds=60),
}


def test_a_long_queue_is_not_read(database: Database) -> None:
    """Some of its 100,000 jobs are paused or blocked. It was read from end to end to find no
    deadline that had passed, no job that preempts, and the place of each job of a page."""
    with database.transaction() as db:
        open_workspaces(db, WORKSPACES)
        queue_jobs(db, EACH, paused=1, blocked=1)
        worker = uuid4()
        workers.register(db, worker, hostname="a", pid=1, queue="cpu", slots=BUSY, devices={})
        for _ in range(BUSY):
            claim(db, worker_id=worker, queues=("cpu",), lease_seconds=60)
    offenders = {}
    for known in ("nothing", "statistics"):
        if known == "statistics":
            with database.engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))
        for name, ask in QUESTIONS.items():
            for plan in plans(database, ask):
                for fault in faults(plan):
                    offenders[name, known] = fault
    assert offenders == {}, offenders


def plans(database: Database, ask: Ask) -> list[dict[str, Any]]:
    """How each statement of a question was carried out."""
    with database.transaction() as db:
        job, workspace = db.execute(
            select(Job.id, Job.workspace_id)
            .where(text("state = 'queued' AND paused_at IS NULL AND NOT blocked"))
            .order_by(Job.id.desc())
            .limit(1)
        ).one()
    with database.transaction() as db, statements(database) as asked:
        ask(db, job, workspace)
        db.rollback()
    found = []
    with database.engine.connect() as connection:
        for statement, parameters in asked:
            explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
            (explained,) = connection.exec_driver_sql(explain, parameters).scalar_one()
            found.append(explained["Plan"])
            connection.rollback()
    return found


@contextmanager
def statements(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """Those that are sent meanwhile and can be explained."""
    sent: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if statement.lstrip().startswith(("SELECT", "UPDATE", "WITH")):
            sent.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def faults(plan: dict[str, Any]) -> Iterator[str]:
    """Steps of a plan that read all jobs, or many of them."""
    kind = plan["Node Type"]
    of_jobs = plan.get("Relation Name") == "jobs" or "jobs" in plan.get("Index Name", "")
    removed = sum(plan.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck"))
    rows = (plan["Actual Rows"] + removed) * plan["Actual Loops"]
    if of_jobs and "Seq Scan" in kind:
        yield kind
    elif (of_jobs or kind == "Sort") and rows > MOST_ROWS:
        yield f"{kind} of {rows:.0f} rows"
    for part in plan.get("Plans", []):
        yield from faults(part)


def test_a_workspace_behind_many_that_may_run_nothing_has_its_turn(database: Database) -> None:
    """The first workspaces are read first, and the others only where none of those has a job."""
    with database.transaction() as db:
        for number in range(2 * FIRST_OFFERS):
            workspace = make_workspace(db, f"full {number}")
            workspace.quota = {"running": 0}
            make_job(db, make_dataset(db, workspace.id))
        job = make_job(db, make_dataset(db, make_workspace(db, "last").id))
        assert take(db).job.id == job.id
        assert look_for_work(db) is None
