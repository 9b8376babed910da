"""What a batch prediction does, as data: everything that its worker needs beside the model.

As with trainings, the stored configuration leaves nothing open: columns are assigned, and horizon,
seed and the name of the result are chosen when it is submitted.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from rnn.config import Config, ForecastingConfig
from rnn.config.forecasting import ColumnName
from service.inference.options import (
    BeamOptions,
    ClassificationOptions,
    ForecastOptions,
    GenerationOptions,
)


class SeriesColumns(Config):
    target_column: ColumnName | None = None
    target_columns: list[ColumnName] | None = Field(
        None,
        min_length=1,
        max_length=10_000,
        description="Instead of target_column: numeric columns of one table, each a series named "
        'after its column; ["*"]: all that are left.',
    )
    time_column: ColumnName | None = None
    series_column: ColumnName | None = None


class TextColumns(Config):
    text_column: ColumnName | None = None


class ResultFields(Config):
    name: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        pattern=r"\S",
        description="Of the result; null: from those of the data set and the model.",
    )


class ForecastingBatch(ForecastOptions, ResultFields):
    task: Literal["time-series-forecasting"]
    data: SeriesColumns = SeriesColumns()


class ClassificationBatch(ClassificationOptions, ResultFields):
    task: Literal["text-classification"]
    data: TextColumns = TextColumns()


class GenerationBatch(GenerationOptions, BeamOptions, ResultFields):
    task: Literal["text-generation"]
    data: TextColumns = TextColumns()


BatchConfig = Annotated[
    ForecastingBatch | ClassificationBatch | GenerationBatch, Field(discriminator="task")
]
BATCH_CONFIGS: TypeAdapter[BatchConfig] = TypeAdapter(BatchConfig)


def with_columns(model: ForecastingConfig, columns: SeriesColumns) -> ForecastingConfig:
    """The configuration of a forecaster that is to read other columns than it was trained on."""
    return model.model_copy(update={"data": model.data.model_copy(update=columns.model_dump())})
