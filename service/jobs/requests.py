"""What a job is asked for with: the body of `POST /jobs`, and of whoever else submits jobs."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints, TypeAdapter, field_validator

from rnn.config import ClassificationConfig, Config, ForecastingConfig, GenerationConfig
from service.datasets.aliases import DatasetReference
from service.json_values import Id, Timestamp
from service.registry.references import NAME_PATTERN, ModelReference

LabelName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
LabelValue = Annotated[str, StringConstraints(max_length=512)]
DeviceName = Literal["auto", "cpu", "cuda"]
MAX_AFTER = 100


class QueueFields(Config):
    """When, where and before what others a piece of work is done."""

    device: DeviceName = Field(
        "auto", description="Where to compute; auto: on a GPU if a worker has one."
    )
    priority: int = Field(
        0,
        ge=-1_000_000,
        le=1_000_000,
        description="Higher ones run first; above 0 needs the scope keys:admin.",
    )
    preempts: bool = Field(
        False,
        description="Where no slot is idle, a running job of lower priority is saved and waits.",
    )
    after: list[Id] = Field(
        default_factory=list,
        max_length=MAX_AFTER,
        description="Jobs that have to succeed before this one starts.",
    )
    deadline: Timestamp | None = Field(
        None, description="Fails the job where it has not ended by then; its checkpoint is kept."
    )
    metadata: dict[LabelName, LabelValue] = Field(
        default_factory=dict, max_length=16, description="Words of your own, kept with the job."
    )

    @field_validator("after")
    @classmethod
    def _each_once(cls, after: list[UUID]) -> list[UUID]:
        if len(set(after)) < len(after):
            raise ValueError("names a job twice")
        return after


class JobFields(QueueFields):
    """What a job says besides its configuration."""

    dataset: DatasetReference
    model: str | None = Field(
        None,
        pattern=NAME_PATTERN,
        description="Name to publish the trained network under; null: from the data set's name.",
    )
    base_model: ModelReference | None = Field(
        None,
        description="A version to start from, of the same task, or of text-generation for "
        "text-classification: its weights, and all choices that they depend on.",
    )


class ForecastingJob(JobFields, ForecastingConfig):
    """A job for `time-series-forecasting`."""


class ClassificationJob(JobFields, ClassificationConfig):
    """A job for `text-classification`."""


class GenerationJob(JobFields, GenerationConfig):
    """A job for `text-generation`."""


JobRequest = Annotated[
    ForecastingJob | ClassificationJob | GenerationJob, Field(discriminator="task")
]
JOB_REQUESTS: TypeAdapter[JobRequest] = TypeAdapter(JobRequest)
