"""The engine on a GPU: here one that is pretended, over what computes there but for its graphs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnn import checkpoint
from rnn.checkpoint import Predictor
from rnn.kernels.cuda import CudaNetwork
from rnn.kernels.cuda_steps import MOST_ROWS, Steps
from rnn.kernels.library import Precision
from rnn.stack import RecurrentStack
from service.errors import UnavailableError
from service.inference import device, loaded
from service.inference.engine import Engine
from service.inference.footprint import memory_bytes
from service.inference.live_requests import LabelStep, LiveRequest, SeriesStep, TextStep
from service.inference.messages import EngineError
from service.inference.requests import Device, GenerationRequest, ServedVersion
from tests.serving import CLASSIFICATION, FORECASTING, GENERATION, LINE, served
from tests.unit.inference.test_engine import LIMITS, collect, until

Scenario = Callable[[Engine], Awaitable[Any]]


def cuda_network(
    stack: RecurrentStack,
    *,
    embedding_vd: Tensor | None = None,
    output: nn.Linear | None = None,
    precision: Precision = "float32",
    rows: int = 1,
) -> CudaNetwork:
    return CudaNetwork(stack, embedding_vd=embedding_vd, output=output, precision=precision)


def exact(folder: Path, device: Device) -> Predictor:
    """In float32, whatever the version was published for."""
    return checkpoint.make_predictor(checkpoint.read(folder, "model"), device)


@pytest.fixture(params=["pretended", pytest.param("real", marks=pytest.mark.gpu)])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Engines that are told to take a GPU take it."""
    monkeypatch.setattr(loaded, "load_model", exact)
    if request.param == "pretended":
        monkeypatch.setattr(device, "choose", lambda wanted: "cpu" if wanted == "cpu" else "cuda")
        load = loaded._load_and_warm

        def load_there(folder: Path, sha256: str, where: Device) -> loaded.Loaded:
            with monkeypatch.context() as patched:
                if where == "cuda":
                    patched.setattr(loaded, "load_model", lambda folder, _: exact(folder, "cpu"))
                    for module in ("generation.predictor", "classification.predictor"):
                        patched.setattr(f"rnn.{module}.make_runner", cuda_network)
                    patched.setattr("rnn.forecasting.decoding.make_runner", cuda_network)
                return load(folder, sha256, where)

        monkeypatch.setattr(loaded, "_load_and_warm", load_there)
    return str(request.param)


@pytest.fixture
def versions(trained: Mapping[str, Path]) -> dict[str, ServedVersion]:
    return {task: served(folder, task) for task, folder in trained.items()}


def asked(where: str, scenario: Scenario) -> Any:
    async def main() -> Any:
        engine = Engine(**{**LIMITS, "device": where})  # type: ignore[arg-type]
        await engine.start()
        try:
            async with asyncio.timeout(60):
                return await scenario(engine)
        finally:
            await engine.stop()

    return asyncio.run(main())


async def session(engine: Engine, version: ServedVersion, steps: list[LiveRequest]) -> Any:
    """The last answer of a session that begins anew at each place, as another process would."""
    state = b""
    for step in steps:
        answer = await engine.advance(version, type(step)(**{**as_fields(step), "state": state}))
        state = answer.state
    return answer


def as_fields(step: LiveRequest) -> dict[str, Any]:
    return {name: getattr(step, name) for name in step.__struct_fields__}


@pytest.mark.usefixtures("gpu")
def test_answers_are_those_of_the_cpu(versions: dict[str, ServedVersion]) -> None:
    demand, reviews, verses = (versions[task] for task in (FORECASTING, CLASSIFICATION, GENERATION))
    series = [np.random.default_rng(seed).normal(10, 1, size=40) for seed in range(9)]
    texts = ["a warm film", "a cold and awful mess", "", "terrible " * 60]

    async def scenario(engine: Engine) -> tuple[list[np.ndarray], list[object]]:
        found = await engine.forecast(demand, series, None, [0.1, 0.9], None, max_values=10_000)
        labels = await engine.classify(reviews, texts)
        added = await engine.attribute(reviews, texts[:2], ["positive"] * 2, max_tokens=1_000)
        requests = [
            GenerationRequest(LINE[: 5 + row], 20 + row, temperature=0, n=1 + row % 2)
            for row in range(9)
        ]
        requests.append(GenerationRequest(LINE * 12, 12, num_beams=4))
        together = await asyncio.gather(*(collect(engine, verses, each) for each in requests))
        digest = verses.sha256
        text = await session(
            engine,
            verses,
            [
                TextStep(digest, b"", text="the quick br"),
                TextStep(digest, b"", text="own fox", max_new_tokens=12, temperature=0, top=3),
            ],
        )
        look = await engine.look(verses, text.state)
        label = await session(
            engine,
            reviews,
            [
                LabelStep(reviews.sha256, b"", "a war"),
                LabelStep(reviews.sha256, b"", "m film"),
            ],
        )
        ahead = await session(
            engine,
            demand,
            [
                SeriesStep(demand.sha256, b"", np.zeros(0)),
                SeriesStep(demand.sha256, b"", series[0], horizon=12, quantiles=(0.5,)),
            ],
        )
        numbers = [
            *(found.mean_bt, found.quantiles_bqt, labels.probabilities_bc, look.hidden_lh),
            *(label.probabilities_c, ahead.mean_t, *(each.added_t for each in added.texts)),
        ]
        return numbers, [*together, text.text, [next_.token for next_ in text.next_tokens]]

    numbers, told = asked("cpu", scenario)
    numbers_there, told_there = asked("cuda", scenario)
    assert told_there == told
    for there, here in zip(numbers_there, numbers, strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-3, atol=1e-4)


def test_a_session_goes_on_at_the_other_device(
    gpu: str, versions: dict[str, ServedVersion]
) -> None:
    verses = versions[GENERATION]
    first = TextStep(verses.sha256, b"", text=LINE)

    async def begin(engine: Engine) -> bytes:
        return (await engine.advance(verses, first)).state

    def going_on(state: bytes) -> Scenario:
        async def scenario(engine: Engine) -> str:
            step = TextStep(verses.sha256, state, text="the ", max_new_tokens=20, temperature=0)
            answer = await engine.advance(verses, step)
            return str(answer.text)  # type: ignore[union-attr]

        return scenario

    here, there = asked("cpu", begin), asked("cuda", begin)
    assert len(here) == len(there), gpu
    texts = {asked(where, going_on(state)) for where in ("cpu", "cuda") for state in (here, there)}
    assert len(texts) == 1


@pytest.mark.usefixtures("gpu")
def test_all_numbers_of_rows_are_captured_before_the_first_request(
    versions: dict[str, ServedVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    captured: list[object] = []
    capture = Steps._captured

    def noted(steps: Steps, launch: Callable[[], None]) -> Callable[[], None]:
        captured.append(launch)
        return capture(steps, launch)

    monkeypatch.setattr(Steps, "_captured", noted)
    verses = versions[GENERATION]

    async def scenario(engine: Engine) -> tuple[int, int]:
        await engine.load(verses.network)
        warm, size_bytes = len(captured), engine.held.size_bytes
        requests = [GenerationRequest("the", 3 + row, temperature=0) for row in range(7)]
        await asyncio.gather(*(collect(engine, verses, each) for each in requests))
        return warm, size_bytes

    warm, size_bytes = asked("cuda", scenario)
    assert warm == len(captured) == MOST_ROWS.bit_length()
    assert size_bytes > MOST_ROWS * 256 * 4, "the buffer of scores is counted"


def test_what_no_tensor_shows_is_counted(
    trained: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnn.generation.predictor.make_runner", cuda_network)
    model = checkpoint.load_model(trained[GENERATION])
    before = memory_bytes(model)
    model.step(torch.tensor([0]), model.initial_state(1))  # type: ignore[union-attr]
    stepped = memory_bytes(model)
    config = model.config.architecture
    gates = 4 * config.hidden_size  # type: ignore[union-attr]
    tables = 256 * gates + config.hidden_size * gates  # type: ignore[union-attr]
    assert stepped - before > 4 * (tables + MOST_ROWS * 256)
    monkeypatch.setattr(Steps, "scratch_bytes", 12_345)
    assert memory_bytes(model) == stepped + 12_345


@pytest.mark.usefixtures("gpu")
def test_an_unloaded_network_gives_its_memory_back(
    versions: dict[str, ServedVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[bool] = []
    monkeypatch.setattr(device, "give_back", lambda: given_back.append(True))
    verses = versions[GENERATION]

    async def scenario(engine: Engine) -> None:
        await engine.load(verses.network)
        assert not given_back
        engine.replaced(verses.sha256)
        await until(lambda: engine.held.networks == 0)
        assert given_back == [True]

    asked("cuda", scenario)
    given_back.clear()
    monkeypatch.setattr(device, "give_back", lambda: given_back.append(True))

    async def on_the_cpu(engine: Engine) -> None:
        await engine.load(verses.network)
        engine.replaced(verses.sha256)
        await until(lambda: engine.held.networks == 0)

    asked("cpu", on_the_cpu)
    assert not given_back


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What classifying "bad" says, if anything."""
    errors: list[str] = []
    classify = loaded.Classifier.classify

    def meet(model: Any, texts: Any) -> Any:
        if texts == ["bad"] and errors:
            raise RuntimeError(errors[0])
        return classify(model, texts)

    monkeypatch.setattr(loaded.Classifier, "classify", meet)
    return errors


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("lost", [True, False])
def test_only_a_lost_gpu_ends_the_engine(
    versions: dict[str, ServedVersion],
    broken: list[str],
    monkeypatch: pytest.MonkeyPatch,
    lost: bool,
) -> None:
    monkeypatch.setattr(device, "is_lost", lambda: lost)
    reviews = versions[CLASSIFICATION]

    async def scenario(engine: Engine) -> None:
        await engine.load(reviews.network)
        broken.append("CUDA error: an illegal memory access was encountered")
        with pytest.raises(EngineError, match="illegal memory access"):
            await engine.classify(reviews, ["bad"])
        if lost:
            await until(lambda: not engine.ready)
            await until(lambda: engine.ready)
            assert engine.held.networks == 0
        await engine.classify(reviews, ["good"])

    asked("cuda", scenario)


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_is_lost_while_a_network_is_loaded_ends_the_engine(
    versions: dict[str, ServedVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = [True]
    monkeypatch.setattr(device, "is_lost", lambda: lost.pop() if lost else False)
    verses, load = versions[GENERATION], loaded._load_and_warm

    def fail_once(folder: Path, sha256: str, where: Device) -> loaded.Loaded:
        if lost:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return load(folder, sha256, where)

    monkeypatch.setattr(loaded, "_load_and_warm", fail_once)

    async def scenario(engine: Engine) -> None:
        with pytest.raises(UnavailableError):
            await collect(engine, verses, GenerationRequest("a", 5))
        await until(lambda: not engine.ready)
        await until(lambda: engine.ready)
        assert await collect(engine, verses, GenerationRequest("a", 5))

    asked("cuda", scenario)


def test_a_gpu_that_is_asked_for_and_absent_ends_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    async def main() -> None:
        engine = Engine(**{**LIMITS, "device": "cuda"})  # type: ignore[arg-type]
        with pytest.raises(UnavailableError, match="REPRISE_INFERENCE_DEVICE is cuda, but torch"):
            await engine.start()
        assert not engine.ready
        await engine.stop()

    asyncio.run(main())


def test_one_that_goes_while_it_serves_is_named(
    versions: dict[str, ServedVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_wanted: str) -> Device:
        raise UnavailableError("the GPU has gone")

    async def scenario(engine: Engine) -> None:
        await until(lambda: engine.ready)
        monkeypatch.setattr(device, "choose", refuse)
        assert engine._link is not None
        engine._link.close()

        async def refused() -> str:
            with pytest.raises(UnavailableError) as caught:
                await engine.classify(versions[CLASSIFICATION], ["good"])
            return caught.value.detail

        while await refused() != "the GPU has gone":
            await asyncio.sleep(0.01)

    asked("cpu", scenario)
