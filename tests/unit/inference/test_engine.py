"""The engine seen from the event loop."""

import asyncio
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from rnn.checkpoint import Content, manifest_sha256, write
from rnn.config import ForecastingConfig
from rnn.determinism import Randomness
from rnn.errors import InputMismatchError
from rnn.forecasting.network import ForecastingNetwork
from service.errors import ModelInputMismatchError, OverloadedError, UnavailableError
from service.inference import engine as engine_module
from service.inference import process
from service.inference.engine import Engine, Running
from service.inference.messages import (
    Classify,
    Done,
    EngineError,
    Frames,
    FromEngine,
    Ready,
    Warm,
    to_frame,
)
from service.inference.requests import (
    Classifications,
    GenerationRequest,
    PromptRead,
    ServedVersion,
    TextFinished,
    TokenDrawn,
)
from service.inference.turns import ROWS_PER_TURN
from tests.serving import served

LIMITS = {
    "kernels": "auto",
    "device": "cpu",
    "threads": 1,
    "max_concurrent": 64,
    "model_cache_bytes": 2**24,
    "max_decode_slots": 16,
    "max_prompt_tokens": 1_000,
    "prefix_cache_bytes": 2**20,
    "prefill_tokens": 16,
    "log_level": "INFO",
}

Scenario = Callable[[Engine, ServedVersion], Awaitable[None]]


@pytest.fixture
def version(generator_folder: Path) -> ServedVersion:
    digest = manifest_sha256(generator_folder)
    return ServedVersion("verses", 1, "text-generation", generator_folder, digest)


def run(version: ServedVersion, scenario: Scenario, **limits: int) -> None:
    async def main() -> None:
        engine = Engine(**{**LIMITS, **limits})  # type: ignore[arg-type]
        await engine.start()
        try:
            async with asyncio.timeout(30):
                await scenario(engine, version)
        finally:
            await engine.stop()

    asyncio.run(main())


async def collect(engine: Engine, version: ServedVersion, request: GenerationRequest) -> str:
    text = ""
    async for came in engine.generate(version, request):
        for event in came:
            if isinstance(event, TokenDrawn | TextFinished):
                text += event.text
    return text


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.001)


def test_it_becomes_ready_and_not_when_stopped(version: ServedVersion) -> None:
    async def scenario(engine: Engine, version: ServedVersion) -> None:
        await until(lambda: engine.ready)
        await engine.stop()
        assert not engine.ready
        with pytest.raises(UnavailableError):
            await collect(engine, version, GenerationRequest("a", 5))

    run(version, scenario)


def test_concurrent_texts_equal_single_ones(version: ServedVersion) -> None:
    async def scenario(engine: Engine, version: ServedVersion) -> None:
        requests = [GenerationRequest(f"text {i}", 20 + i, seed=i) for i in range(12)]
        together = await asyncio.gather(*(collect(engine, version, r) for r in requests))
        for request, text in zip(requests, together, strict=True):
            assert await collect(engine, version, request) == text

    run(version, scenario)


def test_a_client_that_leaves_frees_its_rows(version: ServedVersion) -> None:
    async def scenario(engine: Engine, version: ServedVersion) -> None:
        events = engine.generate(version, GenerationRequest("a", 100_000, n=4))
        assert isinstance((await anext(events))[0], PromptRead)
        await until(lambda: engine.decode_rows == 4)
        await events.aclose()
        left = time.monotonic()
        await until(lambda: engine.decode_rows == 0)
        assert time.monotonic() - left < 1

        task = asyncio.create_task(collect(engine, version, GenerationRequest("a", 100_000)))
        await until(lambda: engine.decode_rows == 1)
        task.cancel()
        await until(lambda: engine.decode_rows == 0)

    run(version, scenario)


def test_more_than_the_capacity_is_refused_at_once_and_later_served(
    version: ServedVersion,
) -> None:
    async def scenario(engine: Engine, version: ServedVersion) -> None:
        first, second = (
            engine.generate(version, GenerationRequest("a", 100_000)) for _ in range(2)
        )
        await anext(first)
        await anext(second)
        with pytest.raises(OverloadedError) as caught:
            await collect(engine, version, GenerationRequest("a", 5))
        assert caught.value.retry_after_seconds == 1
        await first.aclose()
        assert len(await collect(engine, version, GenerationRequest("a", 5))) > 0
        await second.aclose()

    run(version, scenario, max_concurrent=2)


class FakeJob:
    """A classification of the texts "9!" has nine rows, each a batch, the last of which fails."""

    def __init__(self, request: Classify, _model: object) -> None:
        (self.text,) = request.texts
        self.order = range(int(self.text.rstrip("!")) * ROWS_PER_TURN)
        self.rows_per_turn = ROWS_PER_TURN
        self.key = self.text

    def compute(self, _jobs: object, rows: Sequence[int]) -> list[int]:
        taken[self.text] = rows[-1] // ROWS_PER_TURN + 1
        if self.text.endswith("!") and rows[-1] == self.order[-1]:
            raise InputMismatchError("wrong")
        return list(rows)

    def answer(self, _results: object) -> Classifications:
        return Classifications([self.text], np.zeros((1, 1)), [False], [1.0])


taken: dict[str, int] = {}


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many batches were computed of each text."""
    taken.clear()
    monkeypatch.setattr(process, "ClassifyJob", FakeJob)
    return taken


def test_long_work_and_texts_advance_together(
    version: ServedVersion, turns: dict[str, int]
) -> None:
    async def scenario(engine: Engine, version: ServedVersion) -> None:
        events = engine.generate(version, GenerationRequest("a", 100_000))
        await anext(events)
        work = asyncio.create_task(engine.classify(version, ["200"]))
        tokens = 0
        while not work.done():
            tokens += len(await anext(events))
        assert (await work).labels == ["200"]
        assert turns["200"] == 200
        assert tokens >= 100  # about one for each turn
        await events.aclose()

    run(version, scenario)


def test_two_long_works_take_turns(version: ServedVersion, turns: dict[str, int]) -> None:
    async def scenario(engine: Engine, version: ServedVersion) -> None:
        long = "10000000"
        first = asyncio.create_task(engine.classify(version, [long]))
        await until(lambda: long in turns)
        assert (await engine.classify(version, ["3"])).labels == ["3"]
        assert not first.done()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await engine.classify(version, ["1"])  # it knows of the cancel by now
        stopped_at = turns[long]
        await engine.classify(version, ["3"])
        assert turns[long] == stopped_at

    run(version, scenario)


def test_what_is_asked_together_is_sent_together(
    version: ServedVersion, turns: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def counted(messages: Sequence[object]) -> bytes:
        sizes.append(len(messages))
        return to_frame(messages)

    monkeypatch.setattr(engine_module, "to_frame", counted)

    async def scenario(engine: Engine, version: ServedVersion) -> None:
        texts = ["1", "2", "3"]
        answers = await asyncio.gather(*(engine.classify(version, [text]) for text in texts))
        assert [answer.labels for answer in answers] == [[text] for text in texts]

    run(version, scenario)
    assert sizes == [3]
    assert turns == {"1": 1, "2": 2, "3": 3}


def test_texts_that_came_before_a_failure_are_told(version: ServedVersion) -> None:
    """However late they are taken."""

    async def scenario(engine: Engine, version: ServedVersion) -> None:
        events = engine.generate(version, GenerationRequest("a", 100_000))
        began = await anext(events)
        await asyncio.sleep(0.05)  # they come, and nobody takes them
        await engine.stop()
        came = await anext(events)
        assert isinstance(began[0], PromptRead)
        assert all(isinstance(event, TokenDrawn) for event in came)
        assert len(came) > 1
        with pytest.raises(UnavailableError):
            await anext(events)

    run(version, scenario)


def test_a_failed_work_tells_its_caller_alone(
    version: ServedVersion, turns: dict[str, int]
) -> None:
    async def scenario(engine: Engine, version: ServedVersion) -> None:
        bad, good = await asyncio.gather(
            engine.classify(version, ["3!"]),
            engine.classify(version, ["3"]),
            return_exceptions=True,
        )
        assert isinstance(bad, ModelInputMismatchError)
        assert bad.detail == "wrong"
        assert isinstance(good, Classifications)
        assert turns == {"3": 3, "3!": 3}

    run(version, scenario)


def test_stopping_tells_those_who_wait(version: ServedVersion, turns: dict[str, int]) -> None:
    async def scenario(engine: Engine, version: ServedVersion) -> None:
        events = engine.generate(version, GenerationRequest("a", 100_000))
        await anext(events)
        work = asyncio.create_task(engine.classify(version, ["10000000"]))
        await until(lambda: bool(turns))
        await engine.stop()
        with pytest.raises(UnavailableError):
            await work
        with pytest.raises(UnavailableError):
            _ = [came async for came in events]

    run(version, scenario)


def test_a_request_that_meets_a_defect_fails_alone(
    version: ServedVersion, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def classify(_request: Classify, _model: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(process, "ClassifyJob", classify)

    async def scenario(engine: Engine, version: ServedVersion) -> None:
        with pytest.raises(EngineError, match="KeyError"):
            await engine.classify(version, ["a"])
        assert await collect(engine, version, GenerationRequest("a", 5))

    run(version, scenario)
    assert "a request failed" in caplog.messages


@pytest.mark.usefixtures("engine_process")
def test_an_engine_that_dies_is_started_again(
    version: ServedVersion, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A process of its own: what it was asked fails, the next request is answered."""
    started: list[subprocess.Popen[bytes]] = []
    launch = engine_module.launch

    def remembered(connection: socket.socket, arguments: Sequence[str]) -> Running:
        started.append(running := launch(connection, arguments))  # type: ignore[arg-type]
        return running

    monkeypatch.setattr(engine_module, "launch", remembered)
    monkeypatch.setattr(engine_module, "RESTART_SECONDS", 0.01)

    async def scenario(engine: Engine, version: ServedVersion) -> None:
        text = await collect(engine, version, GenerationRequest("a", 20))
        events = engine.generate(version, GenerationRequest("a", 100_000))
        await anext(events)
        started[0].kill()
        with pytest.raises(UnavailableError):
            _ = [came async for came in events]
        assert not engine.ready
        await until(lambda: engine.ready)
        assert await collect(engine, version, GenerationRequest("a", 20)) == text

    run(version, scenario)
    assert [process.poll() for process in started] == [-signal.SIGKILL, 0]
    assert "the inference engine has ended and is started again" in caplog.messages


@pytest.mark.usefixtures("engine_process")
def test_signals_are_for_the_server(version: ServedVersion) -> None:
    """A terminal sends Ctrl-C to both: answers in flight still come."""
    ours, theirs = socket.socketpair()
    arguments = Engine(**LIMITS)._arguments  # type: ignore[arg-type]
    with ours, theirs:
        running = engine_module.launch(theirs, arguments)
        assert isinstance(running, subprocess.Popen)
        ours.settimeout(60)
        assert list(Frames(FromEngine).push(ours.recv(1_000))) == [Ready("cpu")]
        running.send_signal(signal.SIGINT)
        running.send_signal(signal.SIGTERM)
        ours.sendall(to_frame([Warm(1, version.network)]))
        frames: Frames[FromEngine] = Frames(FromEngine)
        while Done(1, None) not in frames.push(ours.recv(1_000)):
            pass
    assert running.wait(10) == 0


def test_a_generation_that_cannot_begin_raises_first(version: ServedVersion) -> None:
    async def scenario(engine: Engine, version: ServedVersion) -> None:
        lost = ServedVersion("verses", 2, version.task, version.folder / "gone", "0" * 64)
        with pytest.raises(UnavailableError):
            await anext(engine.generate(lost, GenerationRequest("a", 5)))
        assert await collect(engine, version, GenerationRequest("a", 5))

    run(version, scenario)


def test_no_digit_tells_how_many_threads_there_are(tmp_path: Path, version: ServedVersion) -> None:
    """Neither of a batch, whose rows they share, nor of a single series: of a head whose products
    torch would share out, with other digits."""
    config = ForecastingConfig.model_validate(
        {
            "task": "time-series-forecasting",
            "architecture": {"num_layers": 1, "hidden_size": 17},
            "data": {"horizon": 16, "context_length": 24, "season_length": 7},
        }
    )
    network = ForecastingNetwork(config, Randomness(0, torch.device("cpu")))
    with torch.no_grad():
        network.head.out.weight.normal_(generator=torch.Generator().manual_seed(0))
    folder = tmp_path / "forecaster"
    write(folder, Content("model", config, {}, network.state_dict()))
    forecaster = served(folder, config.task)
    series = [np.random.default_rng(seed).normal(size=40) for seed in range(20)]
    expected: list[np.ndarray] = []

    async def scenario(engine: Engine, _version: ServedVersion) -> None:
        together = await engine.forecast(forecaster, series, 16, [0.5], None, max_values=10_000)
        expected.append(together.mean_bt)
        for row, values in enumerate(series):
            alone = await engine.forecast(forecaster, [values], 16, [0.5], None, max_values=100)
            np.testing.assert_array_equal(alone.mean_bt[0], together.mean_bt[row])

    run(version, scenario, threads=1)
    run(version, scenario, threads=3)
    np.testing.assert_array_equal(*expected)


def test_texts_that_wait_are_told_from_those_under_way(version: ServedVersion) -> None:
    async def scenario(engine: Engine, version: ServedVersion) -> None:
        first, second = (engine.generate(version, GenerationRequest("a", 100_000)) for _ in "ab")
        assert isinstance((await anext(first))[0], PromptRead)
        waiting = asyncio.ensure_future(anext(second))
        await asyncio.sleep(0)
        figures = await engine.figures()
        assert figures is not None
        assert (figures.running, figures.waiting) == (1, 1)
        assert sum(figures.queue_seconds.counts) == 1
        await first.aclose()
        assert isinstance((await waiting)[0], PromptRead)
        figures = await engine.figures()
        assert figures is not None
        assert (figures.running, figures.waiting) == (1, 0)
        assert figures.batch_rows.counts[0] == sum(figures.batch_rows.counts) > 2
        await second.aclose()

    run(version, scenario, max_decode_slots=1)
