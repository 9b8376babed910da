"""`/usage`: what each key used, by day."""

from datetime import UTC, date, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from service.api.deps import Services, ServicesDep
from service.api.routing import protected_router, requires
from service.api.schemas.usage import UsageReport, UsageView
from service.auth.store import key_names
from service.auth.subjects import Scope, Subject
from service.errors import Fault, ValidationError
from service.usage.minutes import training_minutes

router: APIRouter = protected_router("/usage", tags=["keys"])

DAYS = 30
MOST_DAYS = 366


@router.get("")
async def get_usage(
    subject: Annotated[Subject, requires(Scope.KEYS_ADMIN)],
    services: ServicesDep,
    since: Annotated[date | None, Query(description="null: 30 days in all.")] = None,
    until: Annotated[date | None, Query(description="null: today, in UTC.")] = None,
) -> UsageReport:
    """What each key of the workspace used on each day, both ends among them.

    Counts are kept for 400 days. Those of other API processes come some seconds late.
    """
    until = until or datetime.now(UTC).date()
    since = since or date.fromordinal(max(1, until.toordinal() - DAYS + 1))
    days = (until - since).days + 1
    if not 1 <= days <= MOST_DAYS:
        message = f"makes {days} days until {until}; 1 to {MOST_DAYS} can be asked for"
        fault = Fault(("query", "since"), message)
        raise ValidationError("There are no such days.", faults=[fault])
    counts = await services.usage.read(subject.workspace_id, since, until)
    minutes, names = await run_in_threadpool(
        _recorded, services, subject.workspace_id, since, until
    )
    places = sorted(
        {*counts, *minutes},
        key=lambda place: (-place[0].toordinal(), _name(names, place[1]), str(place[1])),
    )
    return UsageReport(
        since=since,
        until=until,
        data=[
            UsageView(
                day=day,
                key=key_id,
                key_name=_name(names, key_id) or None,
                training_minutes=minutes.get((day, key_id), 0.0),
                **counts.get((day, key_id), {}),
            )
            for day, key_id in places
        ],
    )


def _recorded(
    services: Services, workspace_id: UUID, since: date, until: date
) -> tuple[dict[tuple[date, UUID | None], float], dict[UUID, str]]:
    with services.database.transaction() as db:
        return training_minutes(db, workspace_id, since, until), key_names(db, workspace_id)


def _name(names: dict[UUID, str], key_id: UUID | None) -> str:
    return "" if key_id is None else names.get(key_id, "")
