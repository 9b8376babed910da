"""Text generation over HTTP."""

from typing import Annotated

from pydantic import Field

from rnn.config import MAX_SEED
from service.api.schemas.base import StrictBody, View
from service.api.schemas.models import AnsweringModel, ModelReference
from service.inference.requests import FinishReason

StopText = Annotated[str, Field(min_length=1, max_length=256)]
DEFAULT_NEW_TOKENS = 128


class GenerationBody(StrictBody):
    """A prompt and how its continuation is drawn."""

    model: ModelReference
    prompt: str = Field(min_length=1, examples=["To be, or "])
    max_new_tokens: int | None = Field(
        None, ge=1, le=1_000_000, description=f"null: {DEFAULT_NEW_TOKENS}."
    )
    temperature: float = Field(1.0, ge=0, le=100, description="0: always the likeliest token.")
    top_k: int | None = Field(
        None, ge=1, le=1_000_000, description="Only so many of the likeliest tokens."
    )
    top_p: float = Field(
        1.0, gt=0, le=1, description="Only the likeliest tokens that together reach it."
    )
    min_p: float = Field(
        0.0, ge=0, le=1, description="Only tokens at least this fraction as likely as the first."
    )
    repetition_penalty: float = Field(
        1.0, ge=0.1, le=10, description="Above 1: tokens that were there become less likely."
    )
    stop: list[StopText] = Field(
        [], max_length=16, description="Each ends a text, and is not a part of it."
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=MAX_SEED,
        description="The same seed draws the same text; text i of n has the seed + i.",
    )
    n: int = Field(1, ge=1, le=16, description="Texts drawn from the prompt.")
    logprobs: bool = Field(
        default=False, description="Also answers with each token's logarithmic probability."
    )
    stream: bool = Field(
        default=False,
        description="Answers with server-sent events: token {index, text}, then done or error.",
    )


class DrawnToken(View):
    token: int
    logprob: float


class Choice(View):
    index: int
    text: str
    finish_reason: FinishReason
    logprobs: list[DrawnToken] | None = None


class Usage(View):
    prompt_tokens: int
    completion_tokens: int


class GenerationAnswer(View):
    model: AnsweringModel
    choices: list[Choice]
    usage: Usage


class TokenEvent(View):
    """Data of `event: token`. `token` and `logprob` where logprobs were asked for."""

    index: int
    text: str
    token: int | None = None
    logprob: float | None = None


class ChoiceEnd(View):
    index: int
    finish_reason: FinishReason


class DoneEvent(View):
    """Data of the last event, `event: done`."""

    model: AnsweringModel
    choices: list[ChoiceEnd]
    usage: Usage
