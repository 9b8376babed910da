"""What a sweep is asked for with: the body of `POST /sweeps`."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from rnn.config import Config
from rnn.config.base import MAX_SEED
from service.jobs.requests import JobRequest
from service.sweeps.space import MAX_FIELDS, Space

SamplerName = Literal["tpe", "random", "grid"]
PrunerName = Literal["none", "median", "asha"]
MAX_PARALLEL = 1_000
MAX_MINUTES = 1_000_000


class SweepRequest(Config):
    """A job, and what of it may change."""

    job: JobRequest = Field(
        description="As for `POST /jobs`, without a deadline. The best network is published under "
        "its `model`."
    )
    space: Annotated[Space, Field(min_length=1, max_length=MAX_FIELDS)] = Field(
        description="What may change, such as `training.learning_rate`, with its range or choices.",
        examples=[{"training.learning_rate": {"type": "float", "low": 1e-4, "high": 0.1}}],
    )
    metric: str | None = Field(
        None,
        max_length=100,
        description="Of the held-out part, by which trials are judged; null: the loss.",
    )
    sampler: SamplerName = Field(
        "tpe",
        description="Who chooses. tpe: from the trials so far (tree-structured Parzen estimator); "
        "grid: every combination, in an order that the seed decides.",
    )
    pruner: PrunerName = Field(
        "median",
        description="Which trials are not trained to their end. median: those worse than the "
        "median after as many evaluations; asha: all but the best quarter after 1, 4, 16, ... "
        "evaluations (asynchronous successive halving).",
    )
    max_trials: int = Field(20, ge=1, le=1_000_000)
    parallel: int | None = Field(
        None,
        ge=1,
        le=MAX_PARALLEL,
        description="Trials that wait or run at a time; null: as many as the workers have slots.",
    )
    max_minutes: int | None = Field(
        None, ge=1, le=MAX_MINUTES, description="No trial begins later; those that run go on."
    )
    seed: int = Field(0, ge=0, le=MAX_SEED, description="Of the choices; not of the trainings.")

    @field_validator("job")
    @classmethod
    def _has_no_deadline(cls, job: JobRequest) -> JobRequest:
        if job.deadline is not None:
            raise ValueError("deadline: a sweep has max_minutes instead")
        return job
