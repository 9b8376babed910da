"""The engine: `python -m service.inference.process`, started by an API process, ended with it.

One thread runs every network. Between two batches of forecasts or classifications every text that
is being generated takes a step, so that neither kind of request starves the other.
"""

import argparse
import gc
import logging
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, cast

import torch

from rnn.classification.predictor import Classifier
from rnn.forecasting.predictor import Forecaster
from rnn.generation import predictor
from rnn.kernels import library
from service.errors import ServiceError, UnavailableError
from service.inference import device
from service.inference.attributions import attribute_in_turns
from service.inference.batcher import Batcher, ClassifyJob, ForecastJob
from service.inference.channel import Channel, ClosedError
from service.inference.crowd import threads_beside
from service.inference.decode import Decoder
from service.inference.generation import Generation
from service.inference.histogram import ROWS, SECONDS, Histogram
from service.inference.live import advance_in_turns
from service.inference.loaded import LoadedModels, Model
from service.inference.messages import (
    Advance,
    Attribute,
    Cancel,
    Classify,
    Done,
    Failed,
    Figures,
    Forecast,
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
)
from service.inference.prefix_cache import PrefixCache
from service.inference.requests import (
    Device,
    DeviceChoice,
    GenerationEvent,
    PromptRead,
    TextFinished,
)
from service.inference.telling import Teller
from service.inference.texts import Outbox
from service.telemetry import configure_logging

log = logging.getLogger(__name__)

Turns: TypeAlias = Generator[None, None, Any]


class Limits(NamedTuple):
    threads: int
    model_cache_bytes: int
    max_decode_slots: int
    max_prompt_tokens: int
    prefix_cache_bytes: int
    prefill_tokens: int


class _GpuLostError(Exception):
    """Only a new process can go on."""


@dataclass(eq=False)
class _Asked:
    """A request under way, with its network borrowed."""

    request: Request
    generation: Generation | None = None
    turns: Turns | None = None
    unfinished: int = 0  # texts
    since: float = field(default_factory=time.perf_counter)
    begun: bool = False
    over: bool = False  # answered or cancelled


@dataclass
class EngineLoop:
    """The loop, on the far end of a channel."""

    channel: Channel
    limits: Limits
    device: Device
    _asked: dict[int, _Asked] = field(default_factory=dict)
    _steps: deque[_Asked] = field(default_factory=deque)
    _attributions: deque[_Asked] = field(default_factory=deque)  # long: no step waits for several
    _outbox: list[FromEngine] = field(default_factory=list)
    _told_rows: int = 0
    _told_bytes: int = 0  # of networks
    _gpu_lost: bool = False

    def __post_init__(self) -> None:
        limits = self.limits
        self._models: LoadedModels[_Asked] = LoadedModels(
            limits.model_cache_bytes, self.channel.wake, self.device
        )
        self._batcher: Batcher[_Asked] = Batcher(limits.threads, self._computes)
        self._queue_seconds = Histogram.of(SECONDS)
        self._batch_rows = Histogram.of(ROWS)
        self._cache = PrefixCache(limits.prefix_cache_bytes)
        self._teller = Teller(self._say)
        self._decoder = Decoder(
            limits.max_decode_slots,
            limits.max_prompt_tokens,
            self._cache,
            limits.prefill_tokens,
            crowd_threads=threads_beside(limits.threads),
            teller=self._teller,
        )

    def run(self) -> None:
        """Until the other end is closed."""
        torch.set_num_threads(1)  # the digits of its products depend on it, and not the kernels'
        library.use_threads(self.limits.threads)
        try:
            self.channel.send([Ready(self.device)])
            with torch.inference_mode():
                while True:
                    self._round()
        except ClosedError:
            log.info("the API process has left")
        except _GpuLostError:
            log.critical("the GPU refuses this process, which ends")
        finally:
            self._models.close()
            self._batcher.close()
            self._teller.close()
            self.channel.close()

    def _round(self) -> None:
        """Takes in what has come; then one batch of rows, one turn of a session, one of what tokens
        add to labels, pieces of prompts, one step of every text."""
        idle = not (self._batcher.busy or self._steps or self._attributions or self._decoder.busy)
        for message in self.channel.receive(wait=idle):
            self._take(message)
        for asked, model in self._models.arrived():
            self._arrived(asked, model)
        if self._batcher.busy:
            self._teller.begin()
            for asked, answer in self._batcher.turn():
                self._settle(asked, answer)
        for queue in (self._steps, self._attributions):
            if queue:
                self._teller.begin()
                self._turn(queue)
        if self._decoder.busy:
            self._generate(self._decoder.read)
            self._generate(self._decoder.step)
            if rows := self._decoder.rows:
                self._batch_rows.observe(rows)
        if self._models.size_bytes != self._told_bytes:
            if self.device == "cuda" and self._models.size_bytes < self._told_bytes:
                device.give_back()
            self._told_bytes = self._models.size_bytes
            self._outbox.append(Held(len(self._models), self._told_bytes))
        self._flush()

    def _flush(self) -> None:
        if self._outbox:
            outbox, self._outbox = self._outbox, []
            self.channel.send(outbox)
        if self._gpu_lost:
            raise _GpuLostError

    def _take(self, message: ToEngine) -> None:
        match message:
            case Cancel():
                asked = self._asked.get(message.id)
                if asked is not None:
                    self._end(asked)
            case Replaced():
                self._models.replace(message.sha256)
            case Measure():
                self._outbox.append(Done(message.id, self._figures()))
            case _:
                asked = _Asked(message)
                try:
                    model = self._models.borrow(message.network, asked)
                except ServiceError as error:
                    self._outbox.append(Failed.of(message.id, error))
                    return
                self._asked[message.id] = asked
                if model is not None:
                    self._begin(asked, model)

    def _arrived(self, asked: _Asked, model: Model | ServiceError) -> None:
        if asked.over:
            return
        if isinstance(model, ServiceError):
            self._gpu_lost = self.device == "cuda" and device.is_lost()
            del self._asked[asked.request.id]  # what it borrowed is gone
            self._outbox.append(Failed.of(asked.request.id, model))
        else:
            self._begin(asked, model)

    def _begin(self, asked: _Asked, model: Model) -> None:
        request = asked.request
        try:
            match request:
                case Generate():
                    generator = cast(predictor.Generator, model)
                    generation = Generation(request.request, generator, request.id)
                    asked.generation, asked.unfinished = generation, request.request.n
                    self._decoder.add(generation)
                case Forecast():
                    self._batcher.add(asked, ForecastJob(request, cast(Forecaster, model)))
                case Classify():
                    self._batcher.add(asked, ClassifyJob(request, cast(Classifier, model)))
                case Attribute():
                    asked.turns = attribute_in_turns(cast(Classifier, model), request)
                    self._attributions.append(asked)
                case Advance():
                    asked.turns = advance_in_turns(model, request.step, self._cache)
                    self._steps.append(asked)
                case Warm():
                    self._settle(asked, None)
        except Exception as error:
            self._settle(asked, error)

    def _turn(self, queue: deque[_Asked]) -> None:
        asked = queue.popleft()
        if asked.over:
            return
        assert asked.turns is not None
        self._note_begin(asked)
        try:
            next(asked.turns)
        except StopIteration as end:
            self._settle(asked, end.value)
        except Exception as error:
            self._settle(asked, error)
        else:
            queue.append(asked)

    def _generate(self, work: Callable[[], Outbox]) -> None:
        """A part of the decoder's, and says at once what it brought."""
        try:
            news = work()
        except Exception as error:
            log.exception("generation failed")
            news = self._decoder.fail_all(error)
        events: list[tuple[int, GenerationEvent]] = []
        failures: list[tuple[_Asked, Exception]] = []
        for generation, event in news:
            asked = self._asked.get(generation.id)
            if asked is None:
                continue
            if isinstance(event, Exception):
                failures.append((asked, event))
                continue
            events.append((generation.id, event))
            if isinstance(event, PromptRead):
                self._note_begin(asked)
            elif isinstance(event, TextFinished):
                asked.unfinished -= 1
                if not asked.unfinished:
                    self._end(asked)
        rows = self._decoder.rows
        if events or rows != self._told_rows:
            self._told_rows = rows
            self._outbox.append(Told(events, rows))
        for asked, failure in failures:
            self._settle(asked, failure)
        self._flush()

    def _say(self, tokens: Outbox) -> None:
        """On the teller's thread. Whoever has left meanwhile is not told: nobody waits."""
        events = [(generation.id, cast(GenerationEvent, event)) for generation, event in tokens]
        if events:
            self.channel.send([Told(events, self._told_rows)])

    def _computes(self, users: Sequence[_Asked], rows: int) -> None:
        for asked in users:
            self._note_begin(asked)
        self._batch_rows.observe(rows)

    def _note_begin(self, asked: _Asked) -> None:
        if not asked.begun:
            asked.begun = True
            self._queue_seconds.observe(time.perf_counter() - asked.since)

    def _figures(self) -> Figures:
        asked = [each for each in self._asked.values() if not isinstance(each.request, Warm)]
        running = sum(each.begun for each in asked)
        return Figures(
            running,
            len(asked) - running,
            self._queue_seconds,
            self._batch_rows,
            self._models.load_seconds,
            self._cache.size_bytes,
        )

    def _settle(self, asked: _Asked, answer: Any) -> None:
        """With its answer, or the error that stands for it."""
        number = asked.request.id
        failed = isinstance(answer, Exception)
        if self.device == "cuda" and isinstance(answer, RuntimeError):
            self._gpu_lost = device.is_lost()
        self._outbox.append(Failed.of(number, answer) if failed else Done(number, answer))
        self._end(asked)

    def _end(self, asked: _Asked) -> None:
        asked.over = True
        if asked.generation is not None:
            asked.generation.cancelled = True
        self._batcher.drop(asked)
        del self._asked[asked.request.id]
        self._models.give_back(asked.request.network.sha256)


class Start(NamedTuple):
    descriptor: int
    kernels: library.Choice
    device: DeviceChoice
    log_level: str
    limits: Limits


def read_start(arguments: Sequence[str] | None = None) -> Start:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m service.inference.process")
    parser.add_argument("--socket", type=int, required=True, metavar="FD")
    parser.add_argument("--kernels", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--log-level", required=True)
    for name in Limits._fields:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, required=True)
    chosen = vars(parser.parse_args(arguments))
    limits = Limits(*(chosen[name] for name in Limits._fields))
    return Start(chosen["socket"], chosen["kernels"], chosen["device"], chosen["log_level"], limits)


def serve(channel: Channel, start: Start) -> None:
    """Answers until the other end of the channel is closed, or says why it cannot."""
    try:
        chosen = device.choose(start.device)
    except UnavailableError as error:
        with suppress(ClosedError):
            channel.send([Unable(error.detail)])
        channel.close()
        return
    EngineLoop(channel, start.limits, chosen).run()


def main() -> None:
    start = read_start()
    for number in (signal.SIGINT, signal.SIGTERM):  # for the API process, whose end is ours
        signal.signal(number, signal.SIG_IGN)
    configure_logging(start.log_level)
    library.select(start.kernels)
    gc.freeze()  # torch's objects: to look through them holds up every answer
    serve(Channel(socket.socket(fileno=start.descriptor)), start)


if __name__ == "__main__":
    main()
