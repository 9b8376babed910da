"""A step of a session on the engine's side."""

import asyncio
from collections.abc import Generator as Turns
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import fields
from torch import Tensor

from rnn.checkpoint import manifest_sha256
from rnn.errors import LiveStateError
from rnn.generation.predictor import Generator
from rnn.state import HiddenState
from service.inference.engine import Engine
from service.inference.live import advance_in_turns
from service.inference.live_requests import HiddenLayers, LiveAnswer, TextAnswer, TextStep
from service.inference.options import GenerationOptions
from service.inference.prefix_cache import PrefixCache
from service.inference.requests import GenerationRequest, ServedVersion
from tests.unit.inference.test_engine import collect, run

NETWORK = "a" * 64


def advance(
    model: Generator, request: TextStep, cache: PrefixCache | None = None
) -> tuple[TextAnswer, int]:
    """The answer, and in how many turns."""
    answers: list[LiveAnswer | HiddenLayers] = []

    def work() -> Turns[None, None, None]:
        answers.append((yield from advance_in_turns(model, request, cache or PrefixCache(0))))

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


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["", "a", "the "]), st.integers(0, 3), st.integers(0, 3)),
        min_size=1,
        max_size=8,
    )
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_steps_say_the_same_where_a_token_was_read_ahead(
    generator: Generator, steps: list[tuple[str, int, int]]
) -> None:
    said = []
    for cache in (PrefixCache(2**20), PrefixCache(0)):
        state, answers = b"", []
        for text, drawn, top in [("", 0, 0), *steps]:
            request = TextStep(NETWORK, state, text, max_new_tokens=drawn, top=top, first_seed=3)
            answers.append(advance(generator, request, cache)[0])
            state = answers[-1].state
        said.append(answers)
    assert said[0] == said[1]


def test_a_token_that_was_read_ahead_is_not_read_again(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    prefill = generator.prefill

    def counted(tokens: Sequence[int], state: HiddenState) -> tuple[Tensor, HiddenState]:
        read.extend(tokens)
        return prefill(tokens, state)

    monkeypatch.setattr(generator, "prefill", counted)
    cache = PrefixCache(2**20)
    answer, _ = advance(generator, TextStep(NETWORK, b""), cache)
    for letter in "verses":
        answer, _ = advance(generator, TextStep(NETWORK, answer.state, letter, top=1), cache)
    assert bytes(read) == b"verses"
    size_bytes = cache.size_bytes
    again, _ = advance(generator, TextStep(NETWORK, answer.state, top=1), cache)
    assert again.next_tokens == answer.next_tokens
    assert bytes(read) == b"verses"
    assert cache.size_bytes == size_bytes > 0  # of the newest step alone


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
