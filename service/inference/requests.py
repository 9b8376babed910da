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
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class PromptRead:
    """The prompt is encoded and fits: generation begins. Always the first event."""

    tokens: int


@dataclass(frozen=True)
class TokenDrawn:
    """One more token of text `index`; `text` is what it lets out, often less or more than it."""

    index: int
    token: int
    logprob: float
    text: str


@dataclass(frozen=True)
class TextFinished:
    """Text `index` is complete: `text` is what was still held back, `tokens` all it took."""

    index: int
    text: str
    finish_reason: FinishReason
    tokens: int


GenerationEvent = PromptRead | TokenDrawn | TextFinished
