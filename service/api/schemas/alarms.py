"""What `/alarms` answers."""

from datetime import datetime

from pydantic import Field

from service.alarms.kinds import AlarmKind
from service.api.schemas.base import View


class AlarmView(View):
    kind: AlarmKind
    since: datetime = Field(description="When its cause began.")
    count: int = Field(description="Of the jobs or workers that it is about.")
    message: str
    remedy: str = Field(description="What to do.")


class AlarmList(View):
    data: list[AlarmView] = Field(description="Empty: nothing is wrong.")
