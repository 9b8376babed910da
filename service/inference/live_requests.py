"""One step of a session as the engine is asked for it and answers it, as plain values. No torch.

`state` is what is kept of the network, whose digest is `network`, between two steps; empty: there
was none yet. An answer's `length` counts what the session holds: tokens of a text, timesteps of a
series.
"""

from typing import TypeAlias

import numpy as np
from msgspec import Struct

from service.inference.requests import FinishReason, LikelyToken


class TextStep(Struct, frozen=True, tag=True):
    """Reads `text`, draws `max_new_tokens`, tells the `top` likeliest tokens after that.

    `presence_penalty` and `frequency_penalty` count what this step draws. `seed` None: random
    numbers go on from those of the step before, the first from `first_seed`.
    """

    network: str
    state: bytes
    text: str = ""
    max_new_tokens: int = 0
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    first_seed: int = 0
    logprobs: int | None = None
    top: int = 0


class LabelStep(Struct, frozen=True, tag=True):
    """Reads `text` and classifies all of it so far."""

    network: str
    state: bytes
    text: str = ""


class SeriesStep(Struct, frozen=True, tag=True):
    """Takes in `values_t` with what is known beside them, and forecasts where there is a `horizon`.

    `future` goes on for the horizon. The first step has `static` and, in ISO 8601, `start`.
    """

    network: str
    state: bytes
    values_t: np.ndarray
    past: tuple[tuple[str, np.ndarray], ...] = ()
    future: tuple[tuple[str, np.ndarray], ...] = ()
    static: tuple[tuple[str, float | str | None], ...] = ()
    start: str | None = None
    horizon: int | None = None
    quantiles: tuple[float, ...] = ()


class TextAnswer(Struct, frozen=True, tag=True):
    """What was drawn: its text, tokens and their log-probabilities, and for each token those of the
    `logprobs` likeliest, best first. `read` is all text that the step added to the session: what
    came, then what was drawn, with a stop string."""

    state: bytes
    length: int
    read: str
    text: str
    finish_reason: FinishReason | None
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    likeliest: tuple[tuple[LikelyToken, ...], ...]
    next_tokens: tuple[LikelyToken, ...]


class LabelAnswer(Struct, frozen=True, tag=True):
    """As `POST /sentiment` answers the text so far."""

    state: bytes
    length: int
    labels: tuple[str, ...]
    probabilities_c: np.ndarray
    truncated: bool
    known_share: float


class SeriesAnswer(Struct, frozen=True, tag=True):
    """`mean_t` [horizon] and `quantiles_qt` [Q, horizon]; None without a forecast."""

    state: bytes
    length: int
    mean_t: np.ndarray | None
    quantiles_qt: np.ndarray | None


class HiddenLook(Struct, frozen=True, tag=True):
    """Asks what the network holds after all that the session was given."""

    network: str
    state: bytes


class HiddenLayers(Struct, frozen=True, tag=True):
    """What the units of each layer hold after `length` tokens or timesteps, [L, H]."""

    length: int
    hidden_lh: np.ndarray


LiveRequest: TypeAlias = TextStep | LabelStep | SeriesStep
LiveAnswer: TypeAlias = TextAnswer | LabelAnswer | SeriesAnswer
