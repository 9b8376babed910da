"""`/schedules`: jobs that are submitted again and again."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Response

from rnn.errors import RnnError
from service.api.deps import Services, ServicesDep
from service.api.pagination import Page, PageDep
from service.api.routing import OnceDep, idempotent, protected_router, requires
from service.api.schemas.schedules import ScheduleChange, ScheduleCreation, ScheduleView
from service.auth.subjects import Scope, Subject
from service.db.tables import Schedule
from service.errors import ServiceError, of_science, within
from service.jobs.requests import JobRequest
from service.jobs.submission import prepare, require_scopes
from service.schedules import runs, store

router = protected_router("/schedules", tags=["schedules"])

Reader = Annotated[Subject, requires(Scope.JOBS_READ)]
Writer = Annotated[Subject, requires(Scope.JOBS_WRITE)]


@router.post("", status_code=201)
@idempotent
def create_schedule(
    body: ScheduleCreation,
    subject: Writer,
    services: ServicesDep,
    response: Response,
    once: OnceDep,
) -> ScheduleView:
    """Has a job submitted at the times of a cron expression. What `POST /jobs` would refuse now is
    refused; a quota counts when the time comes."""
    job = _checked(services, subject, body.job)
    with services.database.transaction() as db:
        schedule = store.create(
            db,
            subject.workspace_id,
            subject.key_id,
            name=body.name,
            cron=body.cron,
            timezone=body.timezone,
            job=job,
            enabled=body.enabled,
            most=services.settings.max_schedules,
        )
        view = _view(schedule)
        response.headers["Location"] = f"/api/v1/schedules/{view.id}"
        once.keep(db, view)
    return view


@router.get("")
def list_schedules(subject: Reader, services: ServicesDep, page: PageDep) -> Page[ScheduleView]:
    """The workspace's schedules, newest first."""
    with services.database.transaction() as db:
        schedules, has_more = store.list_schedules(db, subject.workspace_id, page)
        return Page(data=[_view(schedule) for schedule in schedules], has_more=has_more)


@router.get("/{schedule_id}")
def get_schedule(schedule_id: UUID, subject: Reader, services: ServicesDep) -> ScheduleView:
    with services.database.transaction() as db:
        return _view(store.get(db, subject.workspace_id, schedule_id))


@router.patch("/{schedule_id}")
def change_schedule(
    schedule_id: UUID, body: ScheduleChange, subject: Writer, services: ServicesDep
) -> ScheduleView:
    """Changes when, or what. Times that passed while it was not enabled are not made up for."""
    job = None if body.job is None else _checked(services, subject, body.job)
    with services.database.transaction() as db:
        schedule = store.get(db, subject.workspace_id, schedule_id, for_update=True)
        store.change(
            db,
            schedule,
            cron=body.cron,
            timezone=body.timezone,
            job=job,
            enabled=body.enabled,
        )
        return _view(schedule)


@router.delete("/{schedule_id}", status_code=204)
def delete_schedule(schedule_id: UUID, subject: Writer, services: ServicesDep) -> None:
    """Jobs that it submitted stay."""
    with services.database.transaction() as db:
        store.delete(db, subject.workspace_id, schedule_id)


@router.post("/{schedule_id}/run", status_code=202)
@idempotent
def run_schedule(schedule_id: UUID, subject: Writer, services: ServicesDep) -> ScheduleView:
    """Submits its job now, enabled or not; 409 while its last job has not ended."""
    schedule, job = runs.run_now(
        services.database,
        services.artifacts,
        services.settings,
        subject.workspace_id,
        subject.key_id,
        schedule_id,
    )
    services.waker.wake(job.queue)
    return _view(schedule)


def _checked(services: Services, subject: Subject, job: JobRequest) -> dict[str, Any]:
    """The job as it is kept, if it could be submitted now. Raises as `prepare`, with the places
    of the schedule's body."""
    require_scopes(subject, job)
    try:
        prepare(services.database, services.artifacts, services.settings, subject.workspace_id, job)
    except (ServiceError, RnnError) as error:
        refusal = of_science(error) if isinstance(error, RnnError) else error
        if refusal is None:
            raise
        raise within(refusal, "job") from error
    return job.model_dump(mode="json", exclude_unset=True)


def _view(schedule: Schedule) -> ScheduleView:
    return ScheduleView(
        id=schedule.id,
        name=schedule.name,
        cron=schedule.cron,
        timezone=schedule.timezone,
        job=schedule.job,
        enabled=schedule.next_run_at is not None,
        next_run_at=schedule.next_run_at,
        last_run_at=schedule.last_run_at,
        last_job=schedule.last_job_id,
        last_error=schedule.last_error,
        created_at=schedule.created_at,
    )
