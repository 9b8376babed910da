"""Asks the engine for forecasts, classifications and texts: a process of its own, which computes.

A thread that takes Python's lock at every step starves beside a busy server
(`docs/decisions/0003-engine-process.md`). The API process never imports torch. An engine that ends
is started again; what it was asked fails with UnavailableError.
"""

import asyncio
import logging
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, Literal, Protocol, TypeAlias, cast, get_args

import numpy as np

from rnn.forecasting.covariates import SeriesCovariates
from rnn.kernels import library
from service.errors import OverloadedError, UnavailableError
from service.inference.histogram import SECONDS, Histogram
from service.inference.live_requests import HiddenLayers, HiddenLook, LiveAnswer, LiveRequest
from service.inference.messages import (
    Advance,
    Attribute,
    Cancel,
    Classify,
    Done,
    Failed,
    Figures,
    Forecast,
    Frames,
    FromEngine,
    Generate,
    Held,
    Measure,
    Ready,
    Replaced,
    Request,
    ToEngine,
    Told,
    Unable,
    Warm,
    to_frame,
)
from service.inference.requests import (
    Attributions,
    Classifications,
    Device,
    DeviceChoice,
    Forecasts,
    GenerationEvent,
    GenerationRequest,
    Network,
    PromptRead,
    ServedVersion,
    TextFinished,
)

log = logging.getLogger(__name__)

NOT_RUNNING = "The inference engine is not running."
MEASURE_SECONDS = 1.0
RESTART_SECONDS = 1.0
STOP_SECONDS = 10.0

Kind: TypeAlias = Literal["forecast", "classification", "attribution", "generation", "session"]


class _Arrived:
    """What has come for a request of texts, until it is taken."""

    def __init__(self) -> None:
        self._events: list[GenerationEvent] = []
        self._failure: Exception | None = None
        self._taker: asyncio.Future[None] | None = None

    def put(self, event: GenerationEvent) -> None:
        self._events.append(event)
        self._wake()

    def fail(self, error: Exception) -> None:
        """After what came before."""
        self._failure = error
        self._wake()

    async def take(self) -> list[GenerationEvent]:
        """All that has come since, at least one event; raises what it failed with."""
        if not self._events:
            if self._failure is not None:
                raise self._failure
            self._taker = asyncio.get_running_loop().create_future()
            await self._taker
            return await self.take()
        events, self._events = self._events, []
        return events

    def _wake(self) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)


class Running(Protocol):
    """The far end of a connection."""

    def wait(self, timeout: float) -> object:
        """Until it has ended. Raises subprocess.TimeoutExpired."""
        ...

    def kill(self) -> None: ...


def launch(connection: socket.socket, arguments: Sequence[str]) -> Running:
    """Starts an engine at a connection. It ends when the other end of that is closed."""
    process = [sys.executable, "-m", "service.inference.process"]
    return subprocess.Popen(
        [*process, "--socket", str(connection.fileno()), *arguments],
        stdin=subprocess.DEVNULL,
        pass_fds=[connection.fileno()],
    )


class Engine:
    """One for each API process. `start` returns at once, unless there must be a GPU; `ready` says
    when it can answer."""

    def __init__(
        self,
        *,
        kernels: library.Choice,
        device: DeviceChoice,
        threads: int,
        max_concurrent: int,
        model_cache_bytes: int,
        max_decode_slots: int,
        max_prompt_tokens: int,
        prefix_cache_bytes: int,
        prefill_tokens: int,
        log_level: str,
    ) -> None:
        self.ready = False
        self.device: Device | None = None  # where networks are; known once it is ready
        self.decode_rows = 0  # texts being generated now
        self.held = Held(0, 0)  # networks in memory
        self.prompt_tokens = 0  # of all prompts that were read
        self.cached_prompt_tokens = 0  # of those: read for an earlier request
        self.latency_seconds = {kind: Histogram.of(SECONDS) for kind in get_args(Kind)}
        self.first_token_seconds = Histogram.of(SECONDS)
        self.token_gap_seconds = Histogram.of(SECONDS)  # from one arrival of tokens to the next
        self._kernels = kernels
        self._needs_gpu = device == "cuda"
        self._told = asyncio.Event()  # whether it can run
        self._away = NOT_RUNNING  # why it does not
        self._max_concurrent = max_concurrent
        self._arguments = [
            *("--kernels", kernels, "--device", device, "--log-level", log_level),
            *("--threads", str(threads), "--model-cache-bytes", str(model_cache_bytes)),
            *("--max-decode-slots", str(max_decode_slots)),
            *("--max-prompt-tokens", str(max_prompt_tokens)),
            *("--prefix-cache-bytes", str(prefix_cache_bytes)),
            *("--prefill-tokens", str(prefill_tokens)),
        ]
        self._in_flight = 0
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[Any] | _Arrived] = {}
        self._link: _Link | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Called once.

        Raises:
            KernelsError: the kernels that were asked for cannot run.
            UnavailableError: a GPU was asked for, and torch finds none.
        """
        chosen = library.select(self._kernels)
        log.info("kernels: %s (%s)", chosen.level, chosen.reason)
        running = await self._connect()
        self._keeping = asyncio.create_task(self._keep(running))
        if self._needs_gpu:
            await self._told.wait()
            if self.device is None:
                await self.stop()
                raise UnavailableError(self._away)

    async def stop(self) -> None:
        """What is still under way fails with UnavailableError."""
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping

    async def load(self, network: Network) -> None:
        """Loads a network before anybody asks for it.

        Raises OverloadedError or UnavailableError where it cannot be loaded, or not now.
        """
        await self._ask(lambda number: Warm(number, network))

    def replaced(self, sha256: str) -> None:
        """No alias stands for this version any more: it is dropped when its last request ends."""
        if self._link is not None:
            self._link.send(Replaced(sha256))

    async def forecast(
        self,
        version: ServedVersion,
        series: Sequence[np.ndarray],
        horizon: int | None,
        quantiles: Sequence[float],
        covariates: Sequence[SeriesCovariates] | None,
        *,
        max_values: int,
        num_samples: int = 0,
        seed: int = 0,
    ) -> Forecasts:
        """`horizon` None: the one that the network was trained for. `covariates` are those of each
        series; None: nothing is known beside any. The `num_samples` sample paths of series `i` are
        drawn with the seed `seed + i`.

        Raises ValidationError where the answer would hold more than `max_values` numbers.
        """
        with self._admitted("forecast"):
            found: Forecasts = await self._ask(
                lambda number: Forecast(
                    number,
                    version.network,
                    list(series),
                    horizon,
                    list(quantiles),
                    None if covariates is None else list(covariates),
                    max_values,
                    num_samples,
                    seed,
                )
            )
            return found

    async def classify(
        self, version: ServedVersion, texts: Sequence[str], *, max_scores: int | None = None
    ) -> Classifications:
        """Raises ValidationError where there would be more than `max_scores` texts x labels."""
        with self._admitted("classification"):
            found: Classifications = await self._ask(
                lambda number: Classify(number, version.network, list(texts), max_scores)
            )
            return found

    async def attribute(
        self,
        version: ServedVersion,
        texts: Sequence[str],
        labels: Sequence[str],
        *,
        max_tokens: int,
    ) -> Attributions:
        """To one label of each text. Takes many times what a classification does, in turns.

        Raises ValidationError where more than `max_tokens` are read of all texts together.
        """
        with self._admitted("attribution"):
            found: Attributions = await self._ask(
                lambda number: Attribute(
                    number, version.network, list(texts), list(labels), max_tokens
                )
            )
            return found

    async def generate(
        self, version: ServedVersion, request: GenerationRequest
    ) -> AsyncGenerator[list[GenerationEvent], None]:
        """The events of `n` texts as they come, those that came together in one list; the first is
        PromptRead.

        Closing the iterator, or cancelling who awaits it, frees the rows before the next step.
        """
        with self._admitted("generation"):
            arrived, last = _Arrived(), time.perf_counter()
            unfinished = request.n
            seconds = self.first_token_seconds
            number = self._send(lambda number: Generate(number, version.network, request), arrived)
            try:
                while unfinished:
                    events = await arrived.take()
                    for event in events:
                        if isinstance(event, PromptRead):
                            self.prompt_tokens += event.tokens
                            self.cached_prompt_tokens += event.cached_tokens
                        elif isinstance(event, TextFinished):
                            unfinished -= 1
                    if not isinstance(events[-1], PromptRead):  # which comes first
                        now = time.perf_counter()
                        seconds.observe(now - last)
                        seconds, last = self.token_gap_seconds, now
                    yield events
                self._waiting.pop(number, None)
            finally:
                self._forget(number)

    async def advance(self, version: ServedVersion, step: LiveRequest) -> LiveAnswer:
        """One step of a session: the state is in the request, the next one in the answer."""
        with self._admitted("session"):
            found: LiveAnswer = await self._ask(
                lambda number: Advance(number, version.network, step)
            )
            return found

    async def look(self, version: ServedVersion, state: bytes) -> HiddenLayers:
        """What the layers hold in the state of a session."""
        with self._admitted("session"):
            found: HiddenLayers = await self._ask(
                lambda number: Advance(number, version.network, HiddenLook(version.sha256, state))
            )
            return found

    async def figures(self) -> Figures | None:
        """What the engine itself measures; None where it does not answer at once."""
        try:
            async with asyncio.timeout(MEASURE_SECONDS):
                found: Figures = await self._ask(Measure)
        except (TimeoutError, UnavailableError):
            return None
        return found

    @property
    def in_flight(self) -> int:
        """Predictions and steps of sessions that are not answered yet."""
        return self._in_flight

    @contextmanager
    def _admitted(self, kind: Kind) -> Iterator[None]:
        """A place among the requests in flight; OverloadedError where there is none."""
        if self._in_flight >= self._max_concurrent:
            raise OverloadedError(f"{self._max_concurrent} predictions are in flight already.")
        self._in_flight += 1
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._in_flight -= 1
            self.latency_seconds[kind].observe(time.perf_counter() - begin)

    async def _ask(self, make: Callable[[int], Request | Measure]) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        number = self._send(make, answer)
        try:
            return await answer
        finally:
            self._forget(number)

    def _send(
        self,
        make: Callable[[int], Request | Measure],
        waiting: asyncio.Future[Any] | _Arrived,
    ) -> int:
        if self._link is None:
            raise UnavailableError(self._away)
        number = next(self._ids)
        self._waiting[number] = waiting
        self._link.send(make(number))
        return number

    def _forget(self, number: int) -> None:
        """What was asked is cancelled, unless it has its whole answer."""
        if self._waiting.pop(number, None) is not None and self._link is not None:
            self._link.send(Cancel(number))

    def _receive(self, message: FromEngine) -> None:
        match message:
            case Ready():
                self.ready, self.device, self._away = True, message.device, NOT_RUNNING
                self._told.set()
            case Unable():
                log.error("the inference engine cannot run: %s", message.reason)
                self._away = message.reason
                self._told.set()
            case Done():
                self._settle(message.id, message.answer)
            case Failed():
                self._settle(message.id, message.to_error())
            case Held():
                self.held = message
            case Told():
                self.decode_rows = message.rows
                for number, event in message.events:
                    waiting = self._waiting.get(number)
                    if isinstance(waiting, _Arrived):
                        waiting.put(event)

    def _settle(self, number: int, outcome: Any) -> None:
        waiting = self._waiting.pop(number, None)
        match waiting:
            case None:  # whoever waited has gone
                pass
            case _Arrived():
                waiting.fail(outcome)
            case _ if waiting.done():
                pass
            case _ if isinstance(outcome, Exception):
                waiting.set_exception(outcome)
            case _:
                waiting.set_result(outcome)

    async def _connect(self) -> Running:
        ours, theirs = socket.socketpair()
        try:
            running = launch(theirs, self._arguments)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        loop = asyncio.get_running_loop()
        _, self._link = await loop.create_connection(lambda: _Link(self._receive), sock=ours)
        return running

    async def _keep(self, running: Running) -> None:
        """Starts the engine again whenever it ends, until cancelled."""
        while True:
            try:
                assert self._link is not None
                await self._link.closed.wait()
            finally:
                self._lost()
                await asyncio.shield(asyncio.to_thread(_end, running))
            log.error("the inference engine has ended and is started again")
            while self._link is None:
                await asyncio.sleep(RESTART_SECONDS)
                try:
                    running = await self._connect()
                except OSError as error:
                    log.error("the inference engine cannot be started: %s", error)

    def _lost(self) -> None:
        """Nobody shall wait for an engine that has ended."""
        assert self._link is not None
        self._link.close()
        self._link, self.ready = None, False
        self.decode_rows, self.held = 0, Held(0, 0)
        for number in list(self._waiting):
            self._settle(number, UnavailableError("The inference engine has stopped."))


class _Link(asyncio.Protocol):
    """The API process's end of the connection."""

    def __init__(self, receive: Callable[[FromEngine], None]) -> None:
        self.closed = asyncio.Event()
        self._receive = receive
        self._frames: Frames[FromEngine] = Frames(FromEngine)
        self._transport: asyncio.WriteTransport | None = None
        self._outbox: list[ToEngine] = []

    def send(self, message: ToEngine) -> None:
        """What is sent while the loop serves others as well goes in one frame with theirs."""
        if not self._outbox:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outbox.append(message)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        for message in self._frames.push(data):
            self._receive(message)

    def _flush(self) -> None:
        assert self._transport is not None
        outbox, self._outbox = self._outbox, []
        if not self._transport.is_closing():
            self._transport.write(to_frame(outbox))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.closed.set()


def _end(running: Running) -> None:
    """Its connection is closed: it ends by itself, or is made to."""
    try:
        running.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        log.warning("the inference engine did not end and is killed")
        running.kill()
        running.wait(STOP_SECONDS)
