"""The engine's thread seen from the event loop."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path

import pytest

from rnn.checkpoint import manifest_sha256
from rnn.errors import InputMismatchError
from service.errors import OverloadedError, UnavailableError
from service.inference.engine import Engine
from service.inference.requests import (
    GenerationRequest,
    PromptRead,
    ServedVersion,
    TextFinished,
    TokenDrawn,
)

Scenario = Callable[[Engine, ServedVersion], Awaitable[None]]


@pytest.fixture
def version(generator_folder: Path) -> ServedVersion:
    digest = manifest_sha256(generator_folder)
    return ServedVersion("verses", 1, "text-generation", generator_folder, digest)


def run(version: ServedVersion, scenario: Scenario, **limits: int) -> None:
    async def main() -> None:
        wanted = {
            "kernels": "auto",
            "threads": 1,
            "max_concurrent": 64,
            "max_loaded": 2,
            "max_decode_slots": 16,
            "max_prompt_tokens": 1_000,
        }
        engine = Engine(**{**wanted, **limits})
        engine.start()
        try:
            async with asyncio.timeout(30):
                await scenario(engine, version)
        finally:
            await engine.stop()

    asyncio.run(main())


async def collect(engine: Engine, version: ServedVersion, request: GenerationRequest) -> str:
    text = ""
    async for event in engine.generate(version, request):
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
        assert isinstance(await anext(events), PromptRead)
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


def turns(count: int, seen: list[int], fails: bool = False) -> Generator[None, None, str]:
    for i in range(count):
        seen.append(i)
        yield
    if fails:
        raise InputMismatchError("wrong")
    return "done"


def test_long_work_and_texts_advance_together(version: ServedVersion) -> None:
    async def scenario(engine: Engine, version: ServedVersion) -> None:
        events = engine.generate(version, GenerationRequest("a", 100_000))
        await anext(events)
        seen: list[int] = []
        work = asyncio.create_task(engine._work(turns(200, seen)))
        tokens = 0
        while not work.done():
            await anext(events)
            tokens += 1
        assert await work == "done"
        assert len(seen) == 200
        assert tokens >= 100  # about one for each turn
        await events.aclose()

    run(version, scenario)


def test_two_long_works_take_turns(version: ServedVersion) -> None:
    async def scenario(engine: Engine, version: ServedVersion) -> None:
        long: list[int] = []
        first = asyncio.create_task(engine._work(turns(1_000_000, long)))
        await until(lambda: len(long) > 0)
        assert await engine._work(turns(3, [])) == "done"
        assert not first.done()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        stopped_at = len(long)
        await asyncio.sleep(0.05)
        assert len(long) - stopped_at < 1_000_000 - stopped_at

    run(version, scenario)


def test_a_failed_work_tells_its_caller_alone(version: ServedVersion) -> None:
    async def scenario(engine: Engine, version: ServedVersion) -> None:
        bad, good = await asyncio.gather(
            engine._work(turns(3, [], fails=True)),
            engine._work(turns(3, [])),
            return_exceptions=True,
        )
        assert isinstance(bad, InputMismatchError)
        assert good == "done"

    run(version, scenario)


def test_stopping_tells_those_who_wait(version: ServedVersion) -> None:
    async def scenario(engine: Engine, version: ServedVersion) -> None:
        events = engine.generate(version, GenerationRequest("a", 100_000))
        await anext(events)
        work = asyncio.create_task(engine._work(turns(100_000_000, [])))
        await asyncio.sleep(0.01)
        await engine.stop()
        with pytest.raises(UnavailableError):
            await work
        with pytest.raises(UnavailableError):
            _ = [event async for event in events]

    run(version, scenario)


def test_a_generation_that_cannot_begin_raises_first(version: ServedVersion) -> None:
    async def scenario(engine: Engine, version: ServedVersion) -> None:
        lost = ServedVersion("verses", 2, version.task, version.folder / "gone", "0" * 64)
        with pytest.raises(UnavailableError):
            await anext(engine.generate(lost, GenerationRequest("a", 5)))
        assert await collect(engine, version, GenerationRequest("a", 5))

    run(version, scenario)
