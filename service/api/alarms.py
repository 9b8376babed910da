"""`/alarms`: what is wrong with the machine now."""

from typing import Annotated

from sqlalchemy.orm import Session

from service.alarms.kinds import Alarm
from service.alarms.machine import machine_alarms
from service.api.deps import Services, ServicesDep
from service.api.routing import protected_router, requires
from service.api.schemas.alarms import AlarmList, AlarmView
from service.auth.subjects import Scope, Subject
from service.db.clock import now

router = protected_router("/alarms", tags=["alarms"])


@router.get("")
def list_alarms(
    subject: Annotated[Subject, requires(Scope.JOBS_READ)],  # noqa: ARG001
    services: ServicesDep,
) -> AlarmList:
    """What is wrong now, found in this moment; what is right again is gone."""
    with services.database.transaction() as db:
        alarms = alarms_now(db, services)
    return AlarmList(data=[AlarmView.model_validate(alarm) for alarm in alarms])


def alarms_now(db: Session, services: Services) -> list[Alarm]:
    return [*machine_alarms(db, services.settings), *services.disk.look(now(db))]
