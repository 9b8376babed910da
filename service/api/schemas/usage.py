"""What `/usage` answers."""

from datetime import date
from uuid import UUID

from pydantic import Field

from service.api.schemas.base import View


class UsageView(View):
    """What one key used on one day."""

    day: date = Field(description="In UTC.")
    key: UUID | None = Field(description="null: of jobs that no key submitted.")
    key_name: str | None
    requests: int = Field(
        0,
        description="With a valid key, whatever they were answered; messages of WebSockets and "
        "requests of browsers that signed in with the key among them.",
    )
    series: int = Field(0, description="That were forecast by `POST /forecasts`.")
    texts: int = Field(0, description="That were labelled by `POST /sentiment`.")
    prompt_tokens: int = Field(0, description="Read by `POST /generations`.")
    generated_tokens: int = Field(
        0, description="Written by `POST /generations`, in answers that came to their end."
    )
    session_steps: int = Field(0, description="Steps of live sessions, of any task.")
    training_minutes: float = Field(
        description="Of all attempts of its jobs, those of sweeps, schedules and "
        "predictions of data sets among them."
    )


class UsageReport(View):
    since: date
    until: date
    data: list[UsageView] = Field(
        description="The newest day first; only where something was used."
    )
