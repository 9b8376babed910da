"""Whoever comes and goes beside it, a request is told what it would be told alone."""

from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn.checkpoint import load_model
from rnn.generation.predictor import Generator
from service.inference import decode, prefix_cache
from service.inference.generation import Generation
from service.inference.requests import GenerationRequest, PromptRead, TextFinished, TokenDrawn
from tests.unit.inference.conftest import write_generator
from tests.unit.inference.test_decode import Caller, alone

DRAWN = st.builds(
    GenerationRequest,
    prompt=st.sampled_from(["a", "the cat ", "the cat sat on the mat", "é" * 9]),
    max_new_tokens=st.integers(1, 12),
    n=st.integers(1, 3),
    temperature=st.sampled_from([0.0, 0.7, 1.5]),
    top_k=st.sampled_from([None, 1, 30]),
    top_p=st.sampled_from([1.0, 0.8]),
    min_p=st.sampled_from([0.0, 0.02]),
    repetition_penalty=st.sampled_from([1.0, 1.4]),
    presence_penalty=st.sampled_from([0.0, 0.6]),
    frequency_penalty=st.sampled_from([0.0, 0.3]),
    stop=st.sampled_from([(), ("\ufffd",), ("q", "zz")]),
    seed=st.integers(0, 5),
    logprobs=st.sampled_from([None, 2]),
)
SEARCHED = st.builds(
    GenerationRequest,
    prompt=st.sampled_from(["a", "the cat "]),
    max_new_tokens=st.integers(2, 8),
    n=st.integers(1, 2),
    num_beams=st.integers(2, 4),
    stop=st.sampled_from([(), ("\ufffd",)]),
)


@pytest.fixture(scope="module", params=["lstm", "mingru", "slstm", "indrnn"])
def generator(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator:
    """Of cells of the kernels, and of torch."""
    folder = write_generator(tmp_path_factory.mktemp("models") / "any", cell=request.param)
    return cast(Generator, load_model(folder))


@given(
    st.lists(
        st.tuples(
            st.one_of(DRAWN, SEARCHED), st.integers(0, 9), st.one_of(st.none(), st.integers(0, 12))
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([0, 20_000, 2**20]),
    st.integers(4, 12),
    st.sampled_from([1, 3, 16]),
    st.sampled_from([None, 1, 3]),
)
@settings(max_examples=30, deadline=None)
def test_under_random_joins_and_cancels(
    generator: Generator,
    visits: Sequence[tuple[GenerationRequest, int, int | None]],
    prefix_cache_bytes: int,
    slots: int,
    prefill_tokens: int,
    told_beside: int | None,
) -> None:
    """Each comes at some turn, and some leave a number of turns later; a cache that holds few or
    many of their prompts; more texts than slots; prompts read in pieces of any size; tokens of some
    texts or more told by another thread. Who leaves was told the beginning of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_cache, "BLOCK_TOKENS", 4)
        patch.setattr(decode, "CROWD", told_beside or 0)
        caller = Caller(
            slots,
            prefix_cache_bytes=prefix_cache_bytes,
            prefill_tokens=prefill_tokens,
            beside=told_beside is not None,
        )
        present: list[tuple[Generation, int | None]] = []
        for turn in range(25):
            for request, comes, stays in visits:
                if comes == turn:
                    leaves = None if stays is None else turn + stays
                    present.append((caller.add(request, generator), leaves))
            for generation, leaves in present:
                if leaves == turn:
                    generation.cancelled = True
            caller.turn()
        caller.finish()
        if caller.teller is not None:
            caller.teller.close()
        assert caller.decoder.rows == 0
        for generation, leaves in present:
            single, one = alone(generation.request, generator)
            expected = without_cached(single.events[one])
            told = without_cached(caller.events[generation])
            if leaves is None:
                assert len(told) == len(expected)
            if told_beside is None:
                assert told == expected[: len(told)]
            for index, events in by_text(told).items():  # whose order among each other is free
                assert events == by_text(expected)[index][: len(events)]


def without_cached(events: list[object]) -> list[object]:
    return [PromptRead(e.tokens) if isinstance(e, PromptRead) else e for e in events]


def by_text(events: list[object]) -> dict[int | None, list[object]]:
    """Of the prompt (None), and of each text."""
    found: dict[int | None, list[object]] = {}
    for event in events:
        assert isinstance(event, PromptRead | TokenDrawn | TextFinished)
        index = None if isinstance(event, PromptRead) else event.index
        found.setdefault(index, []).append(event)
    return found
