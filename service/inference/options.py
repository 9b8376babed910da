"""What a prediction can be asked for: by a request with its inputs, and of a whole data set."""

import secrets
from itertools import pairwise
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from rnn.config import MAX_SEED, Config
from service.errors import Fault

DEFAULT_NEW_TOKENS = 128
_OF_DRAWING = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)
StopText = Annotated[str, Field(min_length=1, max_length=256)]


def random_seed() -> int:
    """For who gave none."""
    return secrets.randbelow(MAX_SEED)


def _rising(levels: list[float]) -> list[float]:
    if any(low >= high for low, high in pairwise(levels)):
        raise ValueError("must rise, without repetition")
    return levels


Level = Annotated[float, Field(gt=0, lt=1)]


class ForecastOptions(Config):
    horizon: int | None = Field(
        None, ge=1, le=10_000, description="Timesteps; null: all that the model was trained for."
    )
    quantiles: Annotated[list[Level], AfterValidator(_rising)] = Field(
        [0.1, 0.5, 0.9],
        max_length=99,
        description="Levels between 0 and 1, rising, inside those that the model was trained for.",
    )


class ClassificationOptions(Config):
    all_scores: bool = Field(
        default=False, description="Also answers with the score of every label."
    )


class GenerationOptions(Config):
    """How the continuation of a prompt is drawn."""

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
    presence_penalty: float = Field(
        0.0,
        ge=-10,
        le=10,
        description="Taken from the logarithmic probability of each token of the text so far.",
    )
    frequency_penalty: float = Field(
        0.0,
        ge=-10,
        le=10,
        description="Taken from it for each time that the token is in the text.",
    )
    stop: list[StopText] = Field(
        [], max_length=16, description="Each ends a text, and is not a part of it."
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=MAX_SEED,
        description="The same seed draws the same text; text i of n, or of a data set, has the "
        "seed + i.",
    )


def drawing(options: GenerationOptions) -> dict[str, Any]:
    """How tokens are chosen and where a text ends, as requests to the engine name it."""
    return {name: getattr(options, name) for name in _OF_DRAWING} | {"stop": tuple(options.stop)}


class BeamOptions(Config):
    """A search for the likeliest texts, in place of drawing."""

    num_beams: int = Field(
        1,
        ge=1,
        le=16,
        description="Above 1: the likeliest texts that a search over so many at a time finds, best"
        " first. Nothing is drawn, and nothing streamed.",
    )
    length_penalty: float | None = Field(
        None,
        ge=0,
        le=10,
        description="Of a search with num_beams: texts are compared by the sum of their logarithmic"
        " probabilities divided by their number of tokens to this power; null: 1.",
    )


def beam_faults(options: BeamOptions) -> list[Fault]:
    """What was given of `GenerationOptions` beside beams, or of these without any, and means
    nothing then."""
    searching = options.num_beams > 1
    out_of_place = (*_OF_DRAWING, "seed") if searching else ("length_penalty",)
    return [
        Fault(("body", name), f"has no meaning with{'' if searching else 'out'} num_beams")
        for name in out_of_place
        if name in options.model_fields_set and getattr(options, name) is not None
    ]
