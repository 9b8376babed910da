"""Makes the records that a job needs, without HTTP."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from rnn.config import ForecastingConfig
from service.db.tables import Dataset, Job, JobAttempt, JobEvent, Workspace
from service.jobs import store
from service.jobs.claims import Claim, claim
from service.jobs.quotas import UNLIMITED, Quota
from service.jobs.states import TERMINAL
from service.jobs.transitions import Attempt

CONFIG = ForecastingConfig(task="time-series-forecasting").model_dump(mode="json")
PROFILE: dict[str, Any] = {"format": "csv", "rows": 0, "columns": [], "tasks": [CONFIG["task"]]}


def make_workspace(db: Session, name: str = "one") -> Workspace:
    workspace = Workspace(name=name)
    db.add(workspace)
    db.flush()
    return workspace


def make_dataset(db: Session, workspace_id: UUID, content: bytes = b"y\n1\n") -> Dataset:
    dataset = Dataset(
        workspace_id=workspace_id,
        name="a data set",
        format="csv",
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        profile=PROFILE,
    )
    db.add(dataset)
    db.flush()
    return dataset


def make_job(db: Session, dataset: Dataset, **changes: Any) -> Job:
    """A queued job; `changes` replace arguments of `store.submit`."""
    arguments: dict[str, Any] = {
        "workspace_id": dataset.workspace_id,
        "created_by": None,
        "dataset_id": dataset.id,
        "model_name": "demand",
        "config": CONFIG,
        "device": "auto",
        "queue": "cpu",
        "priority": 0,
        "labels": {},
        "defaults": UNLIMITED,
    }
    return store.submit(db, **(arguments | changes))


def look_for_work(
    db: Session, *queues: str, lease_seconds: float = 60.0, defaults: Quota = UNLIMITED
) -> Claim | None:
    """Claims the next job, if there is one."""
    return claim(
        db,
        worker_id=uuid4(),
        queues=queues or ("cpu",),
        lease_seconds=lease_seconds,
        defaults=defaults,
    )


def take(db: Session, *queues: str, lease_seconds: float = 60.0) -> Claim:
    """Claims the next job, which must be there."""
    claimed = look_for_work(db, *queues, lease_seconds=lease_seconds)
    assert claimed is not None
    return claimed


def let_lease_run_out(db: Session, attempt: Attempt) -> None:
    past = func.clock_timestamp() - timedelta(seconds=1)
    db.execute(update(Job).where(Job.id == attempt.job_id).values(lease_expires_at=past))


def reread(db: Session, job_id: UUID) -> Job:
    return db.get_one(Job, job_id, populate_existing=True)


def events_of(db: Session, job_id: UUID) -> list[JobEvent]:
    return list(
        db.scalars(select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq))
    )


def ends_of(events: Sequence[JobEvent]) -> list[JobEvent]:
    """Those events that ended the job: more than one where it was tried again."""
    return [event for event in events if event.type == "state" and event.data["to"] in TERMINAL]


def reasons_of(db: Session, job_id: UUID) -> list[str]:
    """The transitions that a job took, in order."""
    return [event.data["reason"] for event in events_of(db, job_id) if event.type == "state"]


def outcomes_of(db: Session, job_id: UUID) -> list[str | None]:
    """How each attempt of a job ended, in order."""
    return list(
        db.scalars(
            select(JobAttempt.outcome)
            .where(JobAttempt.job_id == job_id)
            .order_by(JobAttempt.attempt)
        )
    )
