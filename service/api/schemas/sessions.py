"""Live sessions over HTTP."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from rnn.config import MAX_SEED, TaskName
from service.api.schemas.base import SeriesTime, StrictBody, View
from service.api.schemas.forecasts import Series, Static
from service.api.schemas.generations import DrawnToken, LikelyToken
from service.api.schemas.models import AnsweringModel
from service.api.schemas.sentiment import InputText, TextSentiment
from service.inference.options import ClassificationOptions, ForecastOptions, GenerationOptions
from service.inference.requests import FinishReason
from service.jobs.requests import LabelName, LabelValue
from service.registry.references import ModelReference

Metadata = Annotated[
    dict[LabelName, LabelValue],
    Field(max_length=16, description="Words of your own, kept with the session."),
]
TtlSeconds = Annotated[
    int | None,
    Field(ge=1, description="Each step begins it anew; null: REPRISE_SESSION_TTL_SECONDS."),
]


class SessionCreation(StrictBody):
    """A model, and what must be known of a series from its beginning."""

    model: ModelReference
    task: TaskName | None = Field(None, description="Must be the model's, if given.")
    ttl_seconds: TtlSeconds = None
    metadata: Metadata = Field(default_factory=dict)
    static_covariates: Static = Field(
        {}, description="Of the series, for a forecaster that reads them."
    )
    start: SeriesTime | None = Field(
        None, description="Time of the first value, for a forecaster that reads the calendar."
    )
    seed: int | None = Field(
        None, ge=0, le=MAX_SEED, description="Of the tokens that a language model draws."
    )
    migratable: bool = Field(
        default=False,
        description="Keeps the inputs, REPRISE_MAX_SESSION_INPUT_BYTES at most, so that the "
        "session can move to another version.",
    )


class SessionView(View):
    id: str
    model: AnsweringModel
    task: str
    created_at: datetime
    expires_at: datetime
    ttl_seconds: int
    seq: int = Field(description="Number of the last step; 0: there was none.")
    metadata: dict[str, str]
    migratable: bool
    snapshots: list[int] = Field(description="Numbers of those that are kept.")


class SessionStep(ForecastOptions, ClassificationOptions, GenerationOptions):
    """What is new, and what is asked for: the fields of the session's task."""

    seq: int | None = Field(
        None,
        ge=1,
        le=MAX_SEED,
        description="Number of the step, one more than that of the last. The same number with the "
        "same body gets the same answer again; null: the next.",
    )
    text: InputText | None = Field(None, description="Goes on with the text so far.")
    values: Series | None = Field(
        None, description="Go on with the series so far; null: a missing value."
    )
    past_covariates: dict[str, Series] = Field(
        {}, description="For each name a list as long as `values`."
    )
    future_covariates: dict[str, Series] = Field(
        {}, description="For each name a list as long as `values` and `horizon` together."
    )
    horizon: int | None = Field(
        None, ge=1, le=10_000, description="Timesteps to forecast; null: none."
    )
    max_new_tokens: int | None = Field(
        None, ge=1, le=1_000_000, description="Tokens to draw; null: none."
    )
    top: int = Field(
        0, ge=0, le=100, description="So many of the likeliest next tokens are in the answer."
    )
    logprobs: int | None = Field(
        None,
        ge=0,
        le=20,
        description="Also answers with each drawn token's logarithmic probability under the model, "
        "before any setting, and with those of so many of the likeliest tokens.",
    )


class SeriesResult(View):
    """What a forecaster says; `mean` and `quantiles` where there is a horizon."""

    timesteps: int = Field(description="Of the series so far.")
    mean: list[float] | None = None
    quantiles: dict[str, list[float]] | None = None


class LabelResult(TextSentiment):
    """What a classifier says of the text so far."""

    tokens: int = Field(description="Of the text so far.")


class TextResult(View):
    """What a language model says; `text` and `finish_reason` where tokens were drawn."""

    tokens: int = Field(description="Of the text so far, read or drawn.")
    text: str | None = None
    finish_reason: FinishReason | None = None
    logprobs: list[DrawnToken] | None = None
    next: list[LikelyToken] | None = Field(None, description="The likeliest first.")


class StepAnswer(View):
    session: str
    seq: int
    expires_at: datetime
    model: AnsweringModel
    result: SeriesResult | LabelResult | TextResult


class SessionState(View):
    """What the network holds after all that the session was given."""

    session: str
    seq: int
    model: AnsweringModel
    task: str
    length: int = Field(description="Tokens or timesteps so far.")
    layers: list[list[float]] = Field(
        description="The hidden units of each layer, the one that reads the input first."
    )


class SessionCopy(StrictBody):
    """How long a new session of an old state lives, and its words."""

    ttl_seconds: TtlSeconds = None
    metadata: Metadata = Field(default_factory=dict)


class SnapshotView(View):
    snapshot: int = Field(description="Its number, for `/restore`.")
    seq: int


class SessionRestore(StrictBody):
    snapshot: int = Field(ge=1, le=MAX_SEED)


class SessionExport(View):
    """`state` is signed; POST /sessions/import makes another session of it."""

    model: AnsweringModel
    task: str
    state: str


class SessionImport(SessionCopy):
    state: str = Field(min_length=1, description="As /export gave it.")


class SessionMigration(StrictBody):
    model: ModelReference | None = Field(
        None, description="Another version of the session's model; null: the one in production."
    )
