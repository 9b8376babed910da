"""A step of a session on the engine's side."""

import asyncio
from collections.abc import Generator as Turns
from pathlib import Path

import pytest
from msgspec.structs import fields

from rnn.checkpoint import manifest_sha256
from rnn.errors import LiveStateError
from rnn.generation.predictor import Generator
from service.inference.engine import Engine
from service.inference.live import advance_in_turns
from service.inference.live_requests import HiddenLayers, LiveAnswer, TextAnswer, TextStep
from service.inference.options import GenerationOptions
from service.inference.requests import GenerationRequest, ServedVersion
from tests.unit.inference.test_engine import collect, run

NETWORK = "a" * 64


def advance(model: Generator, request: TextStep) -> tuple[TextAnswer, int]:
    """The answer, and in how many turns."""
    answers: list[LiveAnswer | HiddenLayers] = []

    def work() -> Turns[None, None, None]:
        answers.append((yield from advance_in_turns(model, request)))

    turns = 1 + sum(1 for _ in work())
    (answer,) = answers
    assert isinstance(answer, TextAnswer)
    return answer, turns


def test_long_work_is_cut_into_turns(generator: Generator) -> None:
    """Between two of them every text being generated takes a step."""
    begun, turns = advance(generator, TextStep(NETWORK, b""))
    assert (begun.length, turns) == (0, 1)
    read, turns = advance(generator, TextStep(NETWORK, begun.state, "a" * 5_000))
    assert (read.length, turns) == (5_000, 10)
    drawn, turns = advance(generator, TextStep(NETWORK, read.state, max_new_tokens=100))
    assert (drawn.length, len(drawn.tokens), turns) == (5_100, 100, 8)


def test_a_step_draws_with_every_option_of_a_generation() -> None:
    """One that a step does not know would be taken and forgotten."""
    known = {field.name for field in fields(TextStep)}
    assert set(GenerationOptions.model_fields) <= known


def test_a_state_of_another_network_is_refused(generator: Generator) -> None:
    begun, _ = advance(generator, TextStep(NETWORK, b""))
    with pytest.raises(LiveStateError):
        advance(generator, TextStep("b" * 64, begun.state))


def test_steps_beside_texts_answer_as_alone(generator_folder: Path) -> None:
    digest = manifest_sha256(generator_folder)
    version = ServedVersion("verses", 1, "text-generation", generator_folder, digest)

    async def scenario(engine: Engine, version: ServedVersion) -> None:
        def request(state: bytes, number: int) -> TextStep:
            return TextStep(version.sha256, state, f"text {number}", max_new_tokens=20)

        async def session(number: int) -> list[str]:
            state, texts = b"", []
            for _ in range(4):
                answer = await engine.advance(version, request(state, number))
                assert isinstance(answer, TextAnswer)
                state = answer.state
                texts.append(answer.text)
            return texts

        alone = [await session(number) for number in range(6)]
        texts = [collect(engine, version, GenerationRequest("a", 50, seed=i)) for i in range(6)]
        together = await asyncio.gather(*map(session, range(6)), *texts)
        assert list(together[:6]) == alone

    run(version, scenario)
