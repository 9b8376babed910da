"""Has the jobs of schedules submitted, as if somebody had posted them at that time.

A time is one transaction: the job is queued and `next_run_at` moves on, or neither, so whatever
dies, there is one job for it. Times that passed while nobody looked are made up for by one job.
"""

import json
import logging
from collections.abc import Iterator
from uuid import UUID

import pydantic
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from rnn.errors import RnnError
from service.artifacts.store import ArtifactStore
from service.db.clock import now
from service.db.engine import Database
from service.db.tables import Job, Schedule
from service.errors import ConflictError, ServiceError, ValidationError, of_science
from service.jobs.requests import JOB_REQUESTS, JobRequest
from service.jobs.submission import Prepared, enqueue, prepare
from service.jobs.wake import Waker
from service.schedules import store
from service.schedules.times import next_time
from service.settings import Settings

log = logging.getLogger(__name__)

MOST_AT_ONCE = 100


class Scheduler:
    """Runs what is due, whenever it is told to look. Several may look: a time is taken by one."""

    def __init__(
        self, settings: Settings, database: Database, artifacts: ArtifactStore, waker: Waker
    ) -> None:
        self._settings = settings
        self._database = database
        self._artifacts = artifacts
        self._waker = waker

    def tick(self) -> None:
        for job in run_due(self._database, self._artifacts, self._settings):
            log.info("job %s: a schedule submitted it", job.id)
            self._waker.wake(job.queue)


def run_due(database: Database, artifacts: ArtifactStore, settings: Settings) -> Iterator[Job]:
    """Submits what is due and gives each job after its commit.

    A schedule whose job is refused says so in `last_error` and goes on to its next time. One that
    cannot even be recorded stays due and holds up no other.
    """
    with database.transaction() as db:
        schedules = store.due(db, limit=MOST_AT_ONCE)
    for schedule in schedules:
        try:
            job = _run(database, artifacts, settings, schedule)
        except Exception:
            log.exception("schedule %s: it could not be run, and stays due", schedule.id)
            continue
        if job is not None:
            yield job


def run_now(
    database: Database,
    artifacts: ArtifactStore,
    settings: Settings,
    workspace_id: UUID,
    key_id: UUID | None,
    schedule_id: UUID,
) -> tuple[Schedule, Job]:
    """Submits a schedule's job whatever the time; its next time stays.

    Raises ConflictError while its last job has not ended, and the errors of a submission.
    """
    with database.transaction() as db:
        schedule = store.get(db, workspace_id, schedule_id)
        _require_ended(db, schedule)
    request = _request(schedule)
    prepared = prepare(database, artifacts, settings, workspace_id, request)
    with database.transaction() as db:
        schedule = store.get(db, workspace_id, schedule_id, for_update=True)
        return schedule, _submit(db, settings, schedule, key_id, request, prepared)


def _run(
    database: Database, artifacts: ArtifactStore, settings: Settings, seen: Schedule
) -> Job | None:
    refusal: ServiceError | None = None
    try:
        with database.transaction() as db:
            _require_ended(db, seen)
        request = _request(seen)
        # Outside of the transaction below: it may read the whole file.
        prepared = prepare(database, artifacts, settings, seen.workspace_id, request)
    except SQLAlchemyError:
        raise
    except Exception as error:
        refusal = _refusal(seen, error)
    job = None
    with database.transaction() as db:
        schedule = store.take(db, seen)
        if schedule is None:
            return None
        if refusal is None:
            try:
                with db.begin_nested():
                    job = _submit(db, settings, schedule, schedule.created_by, request, prepared)
            except ServiceError as error:
                refusal = error
        moment = now(db)
        if refusal is not None:
            log.warning("schedule %s: %s", schedule.id, refusal.detail)
            schedule.last_error = {
                "type": refusal.problem,
                "detail": refusal.detail,
                "at": moment.isoformat(),
            }
        schedule.next_run_at = next_time(schedule.cron, schedule.timezone, moment)
    return job


def _submit(
    db: Session,
    settings: Settings,
    schedule: Schedule,
    key_id: UUID | None,
    request: JobRequest,
    prepared: Prepared,
) -> Job:
    _require_ended(db, schedule)
    job = enqueue(db, settings, schedule.workspace_id, key_id, request, prepared)
    schedule.last_job_id, schedule.last_run_at, schedule.last_error = job.id, now(db), None
    return job


def _require_ended(db: Session, schedule: Schedule) -> None:
    job = store.unfinished_job(db, schedule)
    if job is not None:
        raise ConflictError(
            f"The last job of this schedule, {job.id}, is {job.state}: no other one is submitted "
            "before it has ended."
        )


def _request(schedule: Schedule) -> JobRequest:
    try:
        return JOB_REQUESTS.validate_json(json.dumps(schedule.job))
    except pydantic.ValidationError as error:  # it was kept by an older program
        raise ValidationError(
            f"The job of this schedule must be changed: {error.errors()[0]['msg']}."
        ) from error


def _refusal(schedule: Schedule, error: Exception) -> ServiceError:
    """What is shown to those who did not make the request themselves."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, RnnError) and (said := of_science(error)) is not None:
        return said
    log.error("schedule %s: something unexpected", schedule.id, exc_info=error)
    return ServiceError("Something went wrong here. The reaper's log says what.")
