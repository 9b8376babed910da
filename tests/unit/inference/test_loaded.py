"""What is in memory, with the loading itself counted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rnn.checkpoint import manifest_sha256
from rnn.generation.predictor import Generator
from service.errors import OverloadedError, UnavailableError
from service.inference import loaded
from service.inference.loaded import LoadedModels


class FakeModel:
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Digests in the order in which they were loaded; `bad` cannot be."""
    done: list[str] = []

    def load(folder: Path, sha256: str) -> FakeModel:
        done.append(sha256)
        if sha256 == "bad":
            raise ValueError("no such thing")
        return FakeModel(sha256)

    monkeypatch.setattr(loaded, "_load_and_warm", load)
    return done


@asynccontextmanager
async def loading(max_loaded: int) -> AsyncIterator[LoadedModels]:
    models = LoadedModels(max_loaded, threads=1)
    try:
        yield models
    finally:
        models.close()


async def use(models: LoadedModels, sha256: str) -> str:
    async with models.borrow(Path("folder"), sha256) as model:
        return model.name  # type: ignore[union-attr]


def run(max_loaded: int, scenario: Callable[[LoadedModels], Awaitable[None]]) -> None:
    async def main() -> None:
        async with loading(max_loaded) as models:
            await scenario(models)

    asyncio.run(main())


def test_many_callers_load_once(loads: list[str]) -> None:
    async def scenario(models: LoadedModels) -> None:
        assert await asyncio.gather(*(use(models, "a") for _ in range(20))) == ["a"] * 20
        assert await use(models, "a") == "a"

    run(2, scenario)
    assert loads == ["a"]


def test_the_least_recently_used_makes_room(loads: list[str]) -> None:
    async def scenario(models: LoadedModels) -> None:
        for name in ("a", "b", "a", "c"):
            await use(models, name)
        assert "a" in models
        assert "b" not in models
        assert len(models) == 2

    run(2, scenario)
    assert loads == ["a", "b", "c"]


def test_one_in_use_is_not_unloaded(loads: list[str]) -> None:
    async def scenario(models: LoadedModels) -> None:
        async with models.borrow(Path("folder"), "a"):
            with pytest.raises(OverloadedError) as caught:
                await use(models, "b")
            assert caught.value.retry_after_seconds
        assert await use(models, "b") == "b"
        assert "a" not in models

    run(1, scenario)


def test_a_replaced_version_goes_with_its_last_request(loads: list[str]) -> None:
    async def scenario(models: LoadedModels) -> None:
        async with models.borrow(Path("folder"), "a"):
            async with models.borrow(Path("folder"), "a"):
                models.replace("a")
            assert "a" in models
        assert "a" not in models
        await use(models, "b")
        models.replace("b")
        assert "b" not in models

    run(4, scenario)


def test_a_replaced_version_that_is_asked_again_stays(loads: list[str]) -> None:
    async def scenario(models: LoadedModels) -> None:
        async with models.borrow(Path("folder"), "a"):
            models.replace("a")
            await use(models, "a")
        assert "a" in models

    run(4, scenario)


def test_a_failed_load_is_told_and_tried_again(loads: list[str]) -> None:
    async def scenario(models: LoadedModels) -> None:
        for _ in range(2):
            with pytest.raises(UnavailableError):
                await use(models, "bad")
            await asyncio.sleep(0)
            assert "bad" not in models

    run(1, scenario)
    assert loads == ["bad", "bad"]


def test_a_caller_that_gives_up_does_not_stop_the_loading(loads: list[str]) -> None:
    async def scenario(models: LoadedModels) -> None:
        impatient = asyncio.create_task(use(models, "a"))
        patient = asyncio.create_task(use(models, "a"))
        await asyncio.sleep(0)
        impatient.cancel()
        assert await patient == "a"

    run(1, scenario)
    assert loads == ["a"]


def test_a_real_folder_is_loaded_only_as_what_its_digest_says(generator_folder: Path) -> None:
    async def scenario(models: LoadedModels) -> None:
        digest = manifest_sha256(generator_folder)
        async with models.borrow(generator_folder, digest) as model:
            assert isinstance(model, Generator)
        with pytest.raises(UnavailableError):
            async with models.borrow(generator_folder, "0" * 64):
                pass

    run(2, scenario)
