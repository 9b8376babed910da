"""What an API process and its engine send each other, and how it becomes bytes. No torch.

A frame is four bytes of length, then a list of messages in MessagePack. Either end sends as many
messages at once as it has.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar, get_origin

import numpy as np
from msgspec import Struct, msgpack

from rnn.errors import RnnError
from rnn.forecasting.covariates import SeriesCovariates
from rnn.memory import is_out_of_memory
from service.errors import Fault, ServiceError, UnavailableError, of_science
from service.inference.histogram import Histogram
from service.inference.live_requests import HiddenLayers, HiddenLook, LiveAnswer, LiveRequest
from service.inference.requests import (
    Attributions,
    Classifications,
    Device,
    Forecasts,
    GenerationEvent,
    GenerationRequest,
    Network,
)

log = logging.getLogger(__name__)

PREFIX_BYTES = 4
Message = TypeVar("Message")


class EngineError(Exception):
    """A defect of the engine met a request; its log has the traceback."""


class Forecast(Struct, frozen=True, tag=True, omit_defaults=True):
    """Asks for a `Forecasts`. `horizon` None: the one that the network was trained for.
    `covariates` None: nothing is known beside any series. The sample paths of series `i` are drawn
    with the seed `seed + i`."""

    id: int
    network: Network
    series: list[np.ndarray]
    horizon: int | None
    quantiles: list[float]
    covariates: list[SeriesCovariates] | None
    max_values: int
    num_samples: int = 0
    seed: int = 0


class Classify(Struct, frozen=True, tag=True):
    """Asks for a `Classifications`."""

    id: int
    network: Network
    texts: list[str]
    max_scores: int | None


class Attribute(Struct, frozen=True, tag=True):
    """Asks for an `Attributions` to one label of each text, of `max_tokens` tokens at most in all
    texts together."""

    id: int
    network: Network
    texts: list[str]
    labels: list[str]
    max_tokens: int


class Generate(Struct, frozen=True, tag=True):
    """Asks for texts, which come as `Told`."""

    id: int
    network: Network
    request: GenerationRequest


class Advance(Struct, frozen=True, tag=True):
    """Asks for the `LiveAnswer` to one step of a session, or for what its layers hold."""

    id: int
    network: Network
    step: LiveRequest | HiddenLook


class Warm(Struct, frozen=True, tag=True):
    """Asks for a network to be loaded."""

    id: int
    network: Network


class Measure(Struct, frozen=True, tag=True):
    """Asks for the engine's `Figures`."""

    id: int


class Cancel(Struct, frozen=True, tag=True):
    """Nobody waits for the answer any more."""

    id: int


class Replaced(Struct, frozen=True, tag=True):
    """No alias stands for this version any more: it goes when its last request ends."""

    sha256: str


class Ready(Struct, frozen=True, tag=True):
    """The engine can answer, with networks on this device."""

    device: Device


class Unable(Struct, frozen=True, tag=True):
    """The engine cannot run as it was told to, and ends."""

    reason: str


class Figures(Struct, frozen=True, tag=True):
    """What an engine does now, and what it has measured since it began.

    Attributes:
        running: requests that are computed.
        waiting: those that wait for their network, or for others.
        queue_seconds: how long requests waited; of a text, until its prompt was read.
        batch_rows: rows that were computed together: series and texts, or one token of each text.
        load_seconds: how long networks took that were loaded.
        cache_bytes: what is kept of texts that were read.
    """

    running: int
    waiting: int
    queue_seconds: Histogram
    batch_rows: Histogram
    load_seconds: Histogram
    cache_bytes: int


class Done(Struct, frozen=True, tag=True):
    """The answer to all but `Generate`."""

    id: int
    answer: Forecasts | Classifications | Attributions | LiveAnswer | HiddenLayers | Figures | None


class Failed(Struct, frozen=True, tag=True):
    """There is no answer. `error` is the name of a ServiceError; empty: a defect."""

    id: int
    error: str
    detail: str
    faults: list[Fault]
    retry_after_seconds: float | None

    @classmethod
    def of(cls, id_: int, error: Exception) -> "Failed":
        said = of_science(error) if isinstance(error, RnnError) else error
        if is_out_of_memory(error):
            log.warning("there is not enough memory for a request: %s", error)
            said = UnavailableError(
                "The engine has not enough memory for this: ask again later, or for less at once."
            )
        if not isinstance(said, ServiceError):
            log.error("a request failed", exc_info=error)
            return cls(id_, "", f"{type(error).__name__}: {error}", [], None)
        return cls(
            id_, type(said).__name__, said.detail, list(said.faults), said.retry_after_seconds
        )

    def to_error(self) -> Exception:
        kind = _ERRORS.get(self.error)
        if kind is None:
            return EngineError(self.detail)
        return kind(self.detail, faults=self.faults, retry_after_seconds=self.retry_after_seconds)


class Told(Struct, frozen=True, tag=True):
    """What texts brought, in order, by the id of their request; and how many are generated now."""

    events: list[tuple[int, GenerationEvent]]
    rows: int


class Held(Struct, frozen=True, tag=True):
    """How many networks are in memory or on their way there, and what they take."""

    networks: int
    size_bytes: int


Request: TypeAlias = Forecast | Classify | Attribute | Generate | Advance | Warm
ToEngine: TypeAlias = Request | Measure | Cancel | Replaced
FromEngine: TypeAlias = Ready | Unable | Done | Failed | Told | Held

_ERRORS = {kind.__name__: kind for kind in ServiceError.__subclasses__()}


def to_frame(messages: Sequence[object]) -> bytes:
    body = _ENCODER.encode(messages)
    return len(body).to_bytes(PREFIX_BYTES, "big") + body


class Frames(Generic[Message]):
    """Takes bytes as they come and gives whole messages back."""

    def __init__(self, messages: Any) -> None:
        """`messages`: the union of their types."""
        self._decoder: msgpack.Decoder[list[Message]] = msgpack.Decoder(
            list[messages], dec_hook=_to_value
        )
        self._buffer = bytearray()

    def push(self, data: bytes) -> Iterator[Message]:
        self._buffer += data
        while len(self._buffer) >= PREFIX_BYTES:
            end = PREFIX_BYTES + int.from_bytes(self._buffer[:PREFIX_BYTES], "big")
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[PREFIX_BYTES:end])
            del self._buffer[:end]
            yield from self._decoder.decode(body)


def _to_plain(value: Any) -> Any:
    match value:
        case np.ndarray():
            return value.shape, np.ascontiguousarray(value, dtype=np.float64).tobytes()
        case Path():
            return str(value)
    raise NotImplementedError(type(value))


def _to_value(kind: Any, plain: Any) -> Any:
    if kind is np.ndarray or get_origin(kind) is np.ndarray:
        shape, data = plain
        return np.frombuffer(data, dtype=np.float64).reshape(shape)
    if kind is Path:
        return Path(plain)
    raise NotImplementedError(kind)


_ENCODER = msgpack.Encoder(enc_hook=_to_plain)
