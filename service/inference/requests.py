"""What the engine is asked and what it answers, as plain values. No torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class ServedVersion:
    """A model version that can be asked: what it is called, and which bytes it is."""

    name: str
    version: int
    task: str
    folder: Path
    sha256: str  # of the manifest in the folder


@dataclass(frozen=True)
class GenerationRequest:
    """One prompt with its sampling; `n` texts are drawn from it, independent of each other.

    Text `i` is drawn with the seed `seed + i`, so the first of several equals a single one.
    """

    prompt: str
    max_new_tokens: int
    n: int = 1
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    logprobs: int | None = None  # None: tokens come without logarithmic probabilities
    owner: str = ""  # what is kept of the prompt serves those of the same owner alone


@dataclass(frozen=True)
class PromptRead:
    """The prompt is read: generation begins. Always the first event. The first `cached_tokens` of
    the `tokens` were read for an earlier request."""

    tokens: int
    cached_tokens: int = 0


@dataclass(slots=True)  # not frozen: one is made for each token, and that takes three times as long
class TokenDrawn:
    """One more token of text `index`; `text` is what it lets out, often less or more than it.

    Where they were asked for: its logarithmic probability under the network, before any setting,
    and the likeliest tokens with theirs, best first.
    """

    index: int
    token: int
    text: str
    logprob: float | None = None
    likeliest: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class TextFinished:
    """Text `index` is complete: `text` is what was still held back, `tokens` all it took."""

    index: int
    text: str
    finish_reason: FinishReason
    tokens: int


GenerationEvent = PromptRead | TokenDrawn | TextFinished
