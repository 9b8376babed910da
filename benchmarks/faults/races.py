"""A cancel and the end of a job at the same moment, again and again."""

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

from sqlalchemy import func, select

from benchmarks.faults.backlog import open_workspaces, queue_jobs
from service.db.engine import Database
from service.db.tables import JobEvent, ModelVersion
from service.errors import ConflictError
from service.jobs import endings, store
from service.jobs.claims import Claim, claim
from service.jobs.endings import Trained
from service.jobs.states import TERMINAL, JobState

HEAD_START_SECONDS = 0.003  # at most, of either, so that each is first now and then
TRAINED = Trained("x", "a" * 64, {}, 1, {})


def race(database: Database, races: int, seed: int) -> Counter[JobState]:
    """The states that the jobs ended in.

    Raises AssertionError where a job has not one end, or a model although its cancel was accepted.
    """
    dice = random.Random(seed)
    with database.transaction() as db:
        open_workspaces(db, 1)
        queue_jobs(db, races)
    ends: Counter[JobState] = Counter()
    with ThreadPoolExecutor(2) as threads:
        for _ in range(races):
            with database.transaction() as db:
                claimed = claim(db, worker_id=uuid4(), queues=("cpu",), lease_seconds=60.0)
            assert claimed is not None
            ahead = dice.uniform(-1, 1) * HEAD_START_SECONDS
            cancelling = threads.submit(_cancel, database, claimed, max(0.0, -ahead))
            finishing = threads.submit(_finish, database, claimed, max(0.0, ahead))
            accepted, state = cancelling.result(), finishing.result()
            assert accepted == (state is JobState.CANCELLED)
            _check(database, claimed.job.id, state)
            ends[state] += 1
    return ends


def _cancel(database: Database, claimed: Claim, wait_seconds: float) -> bool:
    """Whether it was accepted."""
    time.sleep(wait_seconds)
    try:
        with database.transaction() as db:
            store.request_cancel(db, claimed.job.workspace_id, claimed.job.id)
    except ConflictError:
        return False
    return True


def _finish(database: Database, claimed: Claim, wait_seconds: float) -> JobState:
    time.sleep(wait_seconds)
    with database.transaction() as db:
        return endings.finish(db, claimed.attempt, TRAINED, code_version="1")


def _check(database: Database, job_id: UUID, state: JobState) -> None:
    with database.transaction() as db:
        events = db.scalars(select(JobEvent).where(JobEvent.job_id == job_id)).all()
        models = db.scalar(select(func.count()).where(ModelVersion.job_id == job_id))
    ends = [e.data["to"] for e in events if e.type == "state" and e.data["to"] in TERMINAL]
    assert ends == [state]
    assert models == (state == JobState.SUCCEEDED)
