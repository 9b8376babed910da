"""What `/batches` answers; `service.batches.requests` has what it is asked with."""

from uuid import UUID

from pydantic import Field

from service.api.schemas.base import View
from service.api.schemas.jobs import WorkView
from service.api.schemas.models import BaseModelView


class BatchProgress(View):
    fraction: float = Field(description="Of all rows, 0 to 1.")
    rows: int = Field(description="That are done; for forecasts a row is a series.")
    total_rows: int | None = Field(description="null: not counted yet.")
    failed_rows: int = Field(
        description="Of those that are done: with an `error` in place of an answer."
    )
    rows_per_second: float | None


class BatchView(WorkView):
    """A data set on its way through a model. Its events are those of the job of the same id."""

    model: BaseModelView = Field(description="The version that predicts.")
    progress: BatchProgress
    result: UUID | None = Field(description="The data set of the answers, once it succeeded.")
