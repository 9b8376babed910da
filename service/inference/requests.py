"""What the engine is asked and what it answers, as plain values. No torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from msgspec import Struct

FinishReason = Literal["stop", "length"]
Device = Literal["cpu", "cuda"]
DeviceChoice = Literal["auto", "cpu", "cuda"]


class Network(Struct, frozen=True):
    """The files of a network, and the digest of their manifest."""

    folder: Path
    sha256: str


@dataclass(frozen=True)
class ServedVersion:
    """A model version that can be asked: what it is called, and which bytes it is."""

    name: str
    version: int
    task: str
    folder: Path
    sha256: str  # of the manifest in the folder

    @property
    def network(self) -> Network:
        return Network(self.folder, self.sha256)


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
    num_beams: int = 1  # above 1: the likeliest texts are searched for instead, best first
    length_penalty: float = 1.0  # of that search
    owner: str = ""  # what is kept of the prompt serves those of the same owner alone

    @property
    def rows(self) -> int:
        """Places that it takes beside other requests."""
        return max(self.n, self.num_beams)


class PromptRead(Struct, frozen=True, tag=True, array_like=True):
    """The prompt is read: generation begins. Always the first event. The first `cached_tokens` of
    the `tokens` were read for an earlier request."""

    tokens: int
    cached_tokens: int = 0


class LikelyToken(Struct, frozen=True, array_like=True):
    """A token that may come next, the text that it would add, and its logarithmic probability."""

    token: int
    text: str
    logprob: float


class TokenDrawn(Struct, tag=True, array_like=True, omit_defaults=True):
    """One more token of text `index`; `text` is what it lets out, often less or more than it.

    Where they were asked for: its logarithmic probability under the network, before any setting,
    and the likeliest tokens with theirs, best first.
    """

    index: int
    token: int
    text: str
    # Not frozen: these are told after it was made.
    logprob: float | None = None
    likeliest: tuple[LikelyToken, ...] = ()


class TextFinished(Struct, frozen=True, tag=True, array_like=True):
    """Text `index` is complete: `text` is what was still held back, `tokens` all it took."""

    index: int
    text: str
    finish_reason: FinishReason
    tokens: int


GenerationEvent = PromptRead | TokenDrawn | TextFinished


class Forecasts(Struct, frozen=True, tag=True, omit_defaults=True):
    """Of every series, over the horizon that was asked or else the network's own; `samples_bst`
    [B, num_samples, horizon] where they were asked for."""

    horizon: int
    mean_bt: np.ndarray
    quantiles_bqt: np.ndarray
    samples_bst: np.ndarray | None = None


class Classifications(Struct, frozen=True, tag=True):
    """Of every text: probabilities_bc in the order of `labels`, whether it was cut, and the share
    of its words that the network knows."""

    labels: list[str]
    probabilities_bc: np.ndarray
    truncated: list[bool]
    known_share: list[float]


class TokenAttributions(Struct, frozen=True):
    """What the tokens that are read of a text add to the log-odds of a label, and where they stand
    in it: each token's first character and the one after its last. `baseline` are the log-odds of
    as many zero vectors, `gap` is what the log-odds lie above it and the sum of all tokens."""

    label: str
    log_odds: float
    baseline: float
    gap: float
    spans: list[tuple[int, int]]
    added_t: np.ndarray


class Attributions(Struct, frozen=True, tag=True):
    """Of every text."""

    texts: list[TokenAttributions]
