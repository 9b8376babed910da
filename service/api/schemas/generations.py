"""Text generation over HTTP."""

from pydantic import Field

from service.api.schemas.base import View
from service.api.schemas.models import AnsweringModel
from service.inference.options import BeamOptions, GenerationOptions
from service.inference.requests import FinishReason
from service.registry.references import ModelReference


class GenerationBody(GenerationOptions, BeamOptions):
    """A prompt and how its continuation is drawn."""

    model: ModelReference
    prompt: str = Field(min_length=1, examples=["To be, or "])
    n: int = Field(1, ge=1, le=16, description="Texts drawn from the prompt.")
    logprobs: int | None = Field(
        None,
        ge=0,
        le=20,
        description="Also answers with each token's logarithmic probability under the model, before"
        " any setting, and with those of so many of the likeliest tokens.",
    )
    stream: bool = Field(
        default=False,
        description="Answers with server-sent events: token {index, text}, then done or error.",
    )


class LikelyToken(View):
    token: int
    text: str = Field(description="That it would add.")
    logprob: float


class DrawnToken(View):
    token: int
    logprob: float
    likeliest: list[LikelyToken] = Field(description="Best first.")


class Choice(View):
    index: int
    text: str
    finish_reason: FinishReason
    logprobs: list[DrawnToken] | None = None


class Usage(View):
    prompt_tokens: int
    cached_tokens: int = Field(description="Of the prompt: read for an earlier request.")
    completion_tokens: int


class GenerationAnswer(View):
    model: AnsweringModel
    choices: list[Choice]
    usage: Usage


class ChoiceEnd(View):
    index: int
    finish_reason: FinishReason


class DoneEvent(View):
    """Data of the last event, `event: done`."""

    model: AnsweringModel
    choices: list[ChoiceEnd]
    usage: Usage
