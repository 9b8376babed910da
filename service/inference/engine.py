"""Answers forecasts, classifications and generations: one thread computes, the event loop awaits.

Torch is imported on that thread after the start, so a server is up before it. Long pieces of work
are cut into turns: between two turns every text being generated takes a step, so that neither
kind of request starves the other. `docs/decisions/0003-inference-thread.md` says why a thread, and
what will take its place.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from rnn.forecasting.covariates import SeriesCovariates
from rnn.kernels import library
from service.errors import OverloadedError, UnavailableError, ValidationError
from service.inference.generation import Generation
from service.inference.loaded import LoadedModels
from service.inference.requests import (
    GenerationEvent,
    GenerationRequest,
    PromptRead,
    ServedVersion,
)
from service.inference.turns import classify_in_turns, forecast_in_turns

if TYPE_CHECKING:  # the engine's thread imports torch, the server does not
    from rnn.classification.predictor import Classifier
    from rnn.forecasting.predictor import Forecaster
    from rnn.generation import predictor
    from service.inference.decode import Decoder

log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Forecasts:
    """Of every series, over the horizon that was asked or else the network's own."""

    horizon: int
    mean_bt: np.ndarray
    quantiles_bqt: np.ndarray


@dataclass(frozen=True)
class Classifications:
    """Of every text: probabilities_bc in the order of `labels`, whether it was cut, and the share
    of its words that the network knows."""

    labels: list[str]
    probabilities_bc: np.ndarray
    truncated: list[bool]
    known_share: list[float]


class _Work:
    """A forecast or a classification on its way through the thread."""

    def __init__(self, turns: Generator[None, None, Any], future: asyncio.Future[Any]) -> None:
        self.turns = turns
        self.cancelled = False  # set by the event loop, seen by the thread before the next turn
        self._future = future

    def settle(self, outcome: Any) -> None:
        """Called on the event loop."""
        if self._future.done():  # whoever awaited it has gone
            return
        if isinstance(outcome, Exception):
            self._future.set_exception(outcome)
        else:
            self._future.set_result(outcome)


class Engine:
    """One for each API process. `start` returns at once; `ready` says when it can answer."""

    def __init__(
        self,
        *,
        kernels: library.Choice,
        threads: int,
        max_concurrent: int,
        max_loaded: int,
        max_decode_slots: int,
        max_prompt_tokens: int,
        prefix_cache_bytes: int = 0,
    ) -> None:
        self.ready = False
        self.prompt_tokens = 0  # of all prompts that were read
        self.cached_prompt_tokens = 0  # of those: read for an earlier request
        self.models = LoadedModels(max_loaded, threads)
        self._kernels = kernels
        self._threads = threads
        self._max_concurrent = max_concurrent
        self._max_decode_slots = max_decode_slots
        self._max_prompt_tokens = max_prompt_tokens
        self._prefix_cache_bytes = prefix_cache_bytes
        self._in_flight = 0
        self._inbox: SimpleQueue[_Work | Generation | None] = SimpleQueue()
        self._works: deque[_Work] = deque()
        self._decoder: Decoder | None = None
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    @property
    def decode_rows(self) -> int:
        """Texts being generated now."""
        return self._decoder.rows if self._decoder else 0

    def start(self) -> None:
        """Called once, on the event loop that will await the answers.

        Raises KernelsError where the kernels that were asked for cannot run here.
        """
        chosen = library.select(self._kernels)
        log.info("kernels: %s (%s)", chosen.level, chosen.reason)
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """What is still under way fails with UnavailableError."""
        self._inbox.put(None)
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, 10)
        self.models.close()

    async def warm(self, folder: Path, sha256: str) -> None:
        """Loads a network before anybody asks for it. Never raises: it is a kindness."""
        try:
            async with self.models.borrow(folder, sha256):
                pass
        except (OverloadedError, UnavailableError) as error:
            log.warning("cannot warm %s: %s", folder, error)

    async def forecast(
        self,
        version: ServedVersion,
        series: Sequence[np.ndarray],
        horizon: int | None,
        quantiles: Sequence[float],
        covariates: Sequence[SeriesCovariates],
        *,
        max_values: int,
    ) -> Forecasts:
        """`horizon` None: the one that the network was trained for. `covariates` are those of each
        series.

        Raises ValidationError where the answer would hold more than `max_values` numbers.
        """
        with self._admitted():
            async with self.models.borrow(version.folder, version.sha256) as loaded:
                model = cast("Forecaster", loaded)
                steps = horizon or cast(int, model.config.data.horizon)
                values = len(series) * steps * (len(quantiles) + 1)
                if values > max_values:
                    raise ValidationError(
                        f"The answer would hold {values} numbers, the limit is {max_values}: "
                        "ask for fewer series, timesteps or quantiles."
                    )
                turns = forecast_in_turns(model, series, steps, quantiles, covariates)
                mean_bt, quantiles_bqt = await self._work(turns)
                return Forecasts(steps, mean_bt, quantiles_bqt)

    async def classify(
        self, version: ServedVersion, texts: Sequence[str], *, max_scores: int | None = None
    ) -> Classifications:
        """Raises ValidationError where there would be more than `max_scores` texts x labels."""
        with self._admitted():
            async with self.models.borrow(version.folder, version.sha256) as loaded:
                model = cast("Classifier", loaded)
                scores = len(texts) * len(model.labels)
                if max_scores is not None and scores > max_scores:
                    raise ValidationError(
                        f"The answer would hold {scores} scores, the limit is {max_scores}: "
                        "ask for fewer texts, or not for all scores."
                    )
                return Classifications(
                    model.labels, *await self._work(classify_in_turns(model, texts))
                )

    async def generate(
        self, version: ServedVersion, request: GenerationRequest
    ) -> AsyncGenerator[GenerationEvent, None]:
        """The events of `n` texts as they come; the first is PromptRead.

        Closing the iterator, or cancelling who awaits it, frees the rows before the next step.
        """
        with self._admitted():
            async with self.models.borrow(version.folder, version.sha256) as loaded:
                generation = Generation(request, cast("predictor.Generator", loaded))
                self._send(generation)
                async with aclosing(generation.events()) as events:
                    async for event in events:
                        if isinstance(event, PromptRead):
                            self.prompt_tokens += event.tokens
                            self.cached_prompt_tokens += event.cached_tokens
                        yield event

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        """A place among the requests in flight; OverloadedError where there is none."""
        if self._in_flight >= self._max_concurrent:
            raise OverloadedError(f"{self._max_concurrent} predictions are in flight already.")
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    async def _work(self, turns: Generator[None, None, Result]) -> Result:
        future: asyncio.Future[Result] = self._loop.create_future()
        work = _Work(turns, future)
        self._send(work)
        try:
            return await future
        finally:
            work.cancelled = True

    def _send(self, message: "_Work | Generation") -> None:
        if not self._thread.is_alive():
            raise UnavailableError("The inference engine is not running.")
        self._inbox.put(message)

    # On the thread

    def _run(self) -> None:
        try:
            import torch

            from service.inference.decode import Decoder

            torch.set_num_threads(self._threads)
            self._decoder = Decoder(
                self._max_decode_slots, self._max_prompt_tokens, self._prefix_cache_bytes
            )
            self.ready = True
            with torch.inference_mode():
                self._serve(self._decoder)
        except Exception:
            log.exception("the inference engine failed")
        finally:
            self.ready = False
            self._abandon()

    def _serve(self, decoder: "Decoder") -> None:
        """Until told to stop: one turn of one piece of work, one step of every text."""
        while self._receive(decoder, wait=not (self._works or decoder.busy)):
            if self._works:
                self._turn(self._works.popleft())
            if decoder.busy:
                try:
                    news = decoder.turn()
                except Exception as error:
                    log.exception("generation failed")
                    self._tell(decoder.fail_all(error))
                else:
                    self._tell(news)

    def _receive(self, decoder: "Decoder", *, wait: bool) -> bool:
        """Takes in all that was sent; False when asked to stop."""
        while True:
            try:
                message = self._inbox.get(block=wait)
            except Empty:
                return True
            wait = False
            if message is None:
                return False
            if isinstance(message, Generation):
                decoder.add(message)
            else:
                self._works.append(message)

    def _turn(self, work: _Work) -> None:
        if work.cancelled:
            return
        try:
            next(work.turns)
        except StopIteration as end:
            self._loop.call_soon_threadsafe(work.settle, end.value)
        except Exception as error:
            self._loop.call_soon_threadsafe(work.settle, error)
        else:
            self._works.append(work)

    def _tell(self, news: Sequence[tuple[Generation, GenerationEvent | Exception]]) -> None:
        """One call into the event loop for all that a step brought."""
        if news:
            self._loop.call_soon_threadsafe(_hand_out, news)

    def _abandon(self) -> None:
        """Nobody shall wait for an engine that has ended."""
        error = UnavailableError("The inference engine has stopped.")
        if self._decoder:
            self._receive(self._decoder, wait=False)
            self._tell(self._decoder.fail_all(error))
        for work in self._works:
            self._loop.call_soon_threadsafe(work.settle, error)


def _hand_out(news: Sequence[tuple[Generation, GenerationEvent | Exception]]) -> None:
    for generation, event in news:
        generation.arrive(event)
