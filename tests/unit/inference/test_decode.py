"""The decoder turn by turn."""

import copy
import gc
import weakref

import pytest
import torch
from torch import Tensor

from rnn.errors import InputMismatchError
from rnn.generation.predictor import Generator
from rnn.generation.sampling import Draws, Sampler, TokenLogprobs
from rnn.state import HiddenState
from service.errors import ContextTooLongError
from service.inference import decode, prefix_cache
from service.inference.decode import PROMPTS_ABREAST, Decoder
from service.inference.generation import Generation
from service.inference.prefix_cache import PrefixCache
from service.inference.requests import (
    GenerationRequest,
    PromptRead,
    TextFinished,
    TokenDrawn,
)
from service.inference.telling import Teller
from service.inference.texts import Outbox, Text

REQUESTS = [
    GenerationRequest("the cat ", 40, seed=1),
    GenerationRequest("a", 25, temperature=0.0),
    GenerationRequest("once upon a time, ", 33, temperature=1.4, top_k=20, seed=7),
    GenerationRequest("x" * 700, 12, temperature=0.7, top_p=0.8, seed=3),
    GenerationRequest("zzz", 30, min_p=0.05, repetition_penalty=1.5, seed=9),
    GenerationRequest("many", 20, n=3, seed=100),
    GenerationRequest("b", 30, presence_penalty=0.8, frequency_penalty=0.3, seed=5, logprobs=3),
]


class Caller:
    """Collects what a decoder tells each generation.

    `beside`: tokens of many texts come from another thread.
    """

    def __init__(
        self,
        slots: int = 64,
        max_prompt_tokens: int = 10_000,
        prefix_cache_bytes: int = 0,
        prefill_tokens: int = 16,
        *,
        beside: bool = False,
    ) -> None:
        self.teller = Teller(self.take) if beside else None
        self.decoder = Decoder(
            slots,
            max_prompt_tokens,
            PrefixCache(prefix_cache_bytes),
            prefill_tokens,
            teller=self.teller,
        )
        self.events: dict[Generation, list[object]] = {}

    def add(self, request: GenerationRequest, model: Generator) -> Generation:
        generation = Generation(request, model)
        self.events[generation] = []
        self.decoder.add(generation)
        return generation

    def turn(self) -> None:
        self.take(self.decoder.read())
        self.take(self.decoder.step())

    def take(self, outbox: Outbox) -> None:
        for generation, event in outbox:
            self.events[generation].append(event)

    def finish(self) -> None:
        for _ in range(2_000):
            if not self.decoder.busy:
                return
            self.turn()
        raise AssertionError("never done")

    def tokens(self, generation: Generation, index: int = 0) -> list[TokenDrawn]:
        return [
            event
            for event in self.events[generation]
            if isinstance(event, TokenDrawn) and event.index == index
        ]

    def text(self, generation: Generation, index: int = 0) -> str:
        return "".join(
            event.text
            for event in self.events[generation]
            if isinstance(event, TokenDrawn | TextFinished) and event.index == index
        )


def alone(request: GenerationRequest, model: Generator) -> tuple[Caller, Generation]:
    caller = Caller()
    generation = caller.add(request, model)
    caller.finish()
    return caller, generation


def test_batched_equals_alone(generator: Generator) -> None:
    together = Caller()
    generations = []
    for request in REQUESTS:  # they join at different steps, and leave at different steps
        generations.append(together.add(request, generator))
        together.turn()
        together.turn()
    together.finish()
    for request, generation in zip(REQUESTS, generations, strict=True):
        single, one = alone(request, generator)
        for index in range(request.n):
            tokens = single.tokens(one, index)
            assert together.tokens(generation, index) == tokens, request
            assert len(tokens) == request.max_new_tokens


def test_who_has_left_is_not_kept_to_be_told(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "CROWD", 1)
    caller = Caller(beside=True)
    kept = []
    for _ in range(2):
        generation = caller.add(GenerationRequest("a", 50), generator)
        kept.append(weakref.ref(generation))
    for _ in range(5):
        caller.turn()
    for reference in kept:
        left = reference()
        assert left is not None
        left.cancelled = True
    caller.events.clear()
    del generation, left
    caller.turn()
    gc.collect()
    assert [reference() for reference in kept] == [None, None]


def test_a_step_that_fails_while_an_end_is_told_leaves_that_its_end(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    greedy = GenerationRequest("a", 50, temperature=0.0)
    stop = alone(greedy, generator)[0]
    (whole,) = stop.events
    request = GenerationRequest("a", 50, temperature=0.0, stop=(stop.text(whole)[4:6],))
    single, one = alone(request, generator)
    step, calls = Generator.step, 0

    def failing(
        model: Generator, tokens_b: Tensor, state: HiddenState
    ) -> tuple[Tensor, HiddenState]:
        nonlocal calls
        calls += 1
        if calls == len(single.tokens(one)):  # the first token comes without a step
            raise RuntimeError("out of memory")
        return step(model, tokens_b, state)

    monkeypatch.setattr(decode, "CROWD", 1)
    monkeypatch.setattr(Generator, "step", failing)
    caller = Caller(beside=True)
    stops, goes_on = caller.add(request, generator), caller.add(greedy, generator)
    caller.finish()
    assert caller.events[stops] == single.events[one]
    assert isinstance(caller.events[goes_on][-1], RuntimeError)
    assert sum(isinstance(event, Exception) for event in caller.events[goes_on]) == 1


def test_a_failure_while_tokens_are_told_is_told(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "CROWD", 1)
    caller = Caller(beside=True)
    assert caller.teller is not None
    generation = caller.add(GenerationRequest("a", 50, n=3), generator)
    caller.turn()
    monkeypatch.setattr(Text, "take", failing_take)
    caller.teller.begin()  # as beside a batch of forecasts
    caller.finish()
    (*_, error) = caller.events[generation]
    assert isinstance(error, ArithmeticError)
    assert caller.decoder.rows == 0


def failing_take(*_arguments: object) -> bool:
    raise ArithmeticError("no text")


def test_text_i_of_n_is_drawn_with_the_seed_plus_i(generator: Generator) -> None:
    several, generation = alone(GenerationRequest("many", 20, n=3, seed=100), generator)
    for index in range(3):
        single, one = alone(GenerationRequest("many", 20, seed=100 + index), generator)
        assert several.text(generation, index) == single.text(one)


def test_a_long_prompt_is_read_in_pieces_and_stalls_nobody(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = GenerationRequest("the quick brown fox " * 10, 5, seed=4)
    whole, first = alone(request, generator)
    monkeypatch.setattr(prefix_cache, "BLOCK_TOKENS", 7)
    caller = Caller()
    running = caller.add(GenerationRequest("a", 60, seed=1), generator)
    caller.turn()
    waiting = caller.add(request, generator)
    for _ in range(28):  # 200 characters, 7 at a turn
        before = len(caller.tokens(running))
        caller.turn()
        assert len(caller.tokens(running)) == before + 1
        assert not caller.tokens(waiting)
    caller.finish()
    assert caller.text(waiting) == whole.text(first)


@pytest.fixture
def read_at_once(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The tokens of each prompt that were read beside each other, call by call."""
    lengths: list[list[int]] = []
    prefill = Generator.prefill_rows

    def counted(
        model: Generator, rows: list[list[int]], state: HiddenState
    ) -> tuple[Tensor, HiddenState]:
        lengths.append([len(tokens) for tokens in rows])
        return prefill(model, rows, state)

    monkeypatch.setattr(Generator, "prefill_rows", counted)
    return lengths


def test_few_prompts_are_read_at_a_time_so_that_the_first_begin_early(
    generator: Generator, read_at_once: list[list[int]]
) -> None:
    caller = Caller()
    first, *_, last = [
        caller.add(GenerationRequest("some prompt", 50, seed=i), generator) for i in range(10)
    ]
    told = caller.decoder.read()
    assert read_at_once == [[11] * PROMPTS_ABREAST]
    assert [type(event) for to, event in told if to is first] == [PromptRead, TokenDrawn]
    caller.decoder.step()
    caller.finish()
    assert isinstance(caller.events[last][-1], TextFinished)
    assert read_at_once == [[11] * 4, [11] * 4, [11] * 2]


def test_short_prompts_do_not_wait_for_long_ones_nor_the_first_for_others(
    generator: Generator,
) -> None:
    caller = Caller(prefill_tokens=10)
    caller.add(GenerationRequest("a", 100), generator)
    caller.turn()
    long = [caller.add(GenerationRequest("x" * 250, 2), generator) for _ in range(6)]
    for _ in range(40):  # more short ones than there is room for beside the first
        short = caller.add(GenerationRequest("short", 1), generator)
        caller.add(GenerationRequest("short", 1), generator)
        caller.add(GenerationRequest("short", 1), generator)
        caller.turn()
        assert isinstance(caller.events[short][-1], TextFinished)
    assert caller.tokens(long[0])
    assert not any(caller.tokens(other) for other in long[1:])
    caller.finish()
    assert all(len(caller.tokens(one)) == 2 for one in long)


def test_prompts_are_read_in_pieces_only_where_a_text_waits(
    generator: Generator, read_at_once: list[list[int]]
) -> None:
    """And where no digit depends on it: what torch computes is read up to the end of a block."""
    caller = Caller(prefill_tokens=8)
    caller.add(GenerationRequest("x" * 300, 40), generator)
    caller.finish()
    assert read_at_once == [[256], [44]]
    read_at_once.clear()
    caller.add(GenerationRequest("first", 40), generator)
    caller.turn()
    caller.add(GenerationRequest("x" * 20, 3), generator)
    caller.finish()
    whole = not generator.exact_in_pieces
    assert read_at_once == [[5], *([[20]] if whole else [[8], [8], [4]])]


def test_the_events_of_a_text(generator: Generator) -> None:
    caller, generation = alone(GenerationRequest("ab", 6, seed=1), generator)
    read, *tokens, end = caller.events[generation]
    assert read == PromptRead(2, 0)
    assert len(tokens) == 6
    assert isinstance(end, TextFinished)
    assert (end.finish_reason, end.tokens) == ("length", 6)


def test_a_stop_string_ends_the_text_before_it(generator: Generator) -> None:
    request = GenerationRequest("abc", 60, temperature=0.9, seed=2)
    caller, generation = alone(request, generator)
    whole = caller.text(generation)
    stop = whole[20:23]
    stopping = GenerationRequest("abc", 60, temperature=0.9, seed=2, stop=(stop,))
    caller, generation = alone(stopping, generator)
    end = caller.events[generation][-1]
    assert isinstance(end, TextFinished)
    assert end.finish_reason == "stop"
    assert caller.text(generation) == whole[: whole.index(stop)]


def test_a_cancelled_text_is_gone_after_one_turn(generator: Generator) -> None:
    caller = Caller()
    stays = caller.add(GenerationRequest("a", 30, seed=1), generator)
    goes = caller.add(GenerationRequest("b", 30, n=4, seed=2), generator)
    caller.turn()
    assert caller.decoder.rows == 5
    goes.cancelled = True
    caller.turn()
    assert caller.decoder.rows == 1
    told = len(caller.events[goes])
    caller.finish()
    assert len(caller.events[goes]) == told
    single, one = alone(GenerationRequest("a", 30, seed=1), generator)
    assert caller.text(stays) == single.text(one)


def test_a_cancelled_prompt_gives_its_slots_back(generator: Generator) -> None:
    caller = Caller(slots=4)
    reading = caller.add(GenerationRequest("long prompt" * 100, 5, n=4), generator)
    caller.turn()
    assert caller.decoder.rows == 4
    reading.cancelled = True
    next_one = caller.add(GenerationRequest("b", 5, n=4), generator)
    caller.finish()
    assert len(caller.tokens(next_one, 3)) == 5
    assert caller.decoder.rows == 0


def test_more_texts_than_slots_wait_their_turn(generator: Generator) -> None:
    caller = Caller(slots=3)
    generations = [
        caller.add(GenerationRequest("abc", 5 + i, seed=i), generator) for i in range(10)
    ]
    while caller.decoder.busy:
        caller.turn()
        assert caller.decoder.rows <= 3
    for i, generation in enumerate(generations):
        single, one = alone(GenerationRequest("abc", 5 + i, seed=i), generator)
        assert caller.text(generation) == single.text(one)


def test_a_prompt_over_the_limit_fails_alone(generator: Generator) -> None:
    caller = Caller(max_prompt_tokens=10)
    long = caller.add(GenerationRequest("x" * 11, 5), generator)
    fits = caller.add(GenerationRequest("x" * 10, 5), generator)
    caller.finish()
    (error,) = caller.events[long]
    assert isinstance(error, ContextTooLongError)
    assert "11 tokens" in error.detail
    assert len(caller.tokens(fits)) == 5


class Broken:
    """A network that goes wrong for the rows whose last token is an exclamation mark."""

    def __init__(self, model: Generator, *, raises: bool) -> None:
        self._model = model
        self._raises = raises

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def step(self, tokens_b: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        if self._raises:
            raise InputMismatchError("broken")
        logits_bv, state = self._model.step(tokens_b, state)
        logits_bv = logits_bv.clone()
        logits_bv[0] = torch.nan
        return logits_bv, state


def test_a_row_that_is_not_finite_fails_alone(generator: Generator) -> None:
    model: Generator = Broken(generator, raises=False)  # type: ignore[assignment]
    caller = Caller()
    first = caller.add(GenerationRequest("a", 10, seed=1), model)
    second = caller.add(GenerationRequest("b", 2, seed=2), model)
    for _ in range(2):
        caller.turn()
    assert isinstance(caller.events[first][-1], ArithmeticError)
    single, one = alone(GenerationRequest("b", 2, seed=2), generator)
    assert caller.text(second) == single.text(one)


def test_a_network_that_raises_fails_its_texts_and_no_other(generator: Generator) -> None:
    broken: Generator = Broken(generator, raises=True)  # type: ignore[assignment]
    caller = Caller()
    bad = caller.add(GenerationRequest("a", 10, n=2, seed=1), broken)
    good = caller.add(GenerationRequest("b", 10, seed=2), generator)
    caller.finish()
    assert [type(event) for event in caller.events[bad]].count(InputMismatchError) == 1
    assert len(caller.tokens(good)) == 10
    assert caller.decoder.rows == 0


def test_a_draw_that_raises_fails_its_network_and_no_other(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the network's step was guarded: an error of the sampling failed every text there was."""
    bad_request = GenerationRequest("a", 10, temperature=0.5, n=2, seed=1)
    other: Generator = copy.copy(generator)  # a network of its own to the decoder
    draw = Sampler.draw
    calls = 0

    def broken(sampler: Sampler, logits_bv: Tensor) -> Draws:
        nonlocal calls
        if len(logits_bv) == bad_request.n:
            calls += 1
            if calls == fails_at:
                raise RuntimeError("broken")
        return draw(sampler, logits_bv)

    monkeypatch.setattr(Sampler, "draw", broken)
    for fails_at in (1, 3):  # the first token, drawn when the prompt is read, and a later one
        calls = 0
        caller = Caller()
        good = caller.add(GenerationRequest("b", 10, seed=2), generator)
        bad = caller.add(bad_request, other)
        caller.finish()
        assert isinstance(caller.events[bad][-1], RuntimeError)
        assert len(caller.tokens(bad)) == fails_at - 1
        assert isinstance(caller.events[good][-1], TextFinished)
        assert caller.decoder.rows == 0


def test_a_token_that_cannot_be_taken_fails_its_own_row(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of one row's decoder or stop strings failed every text there was."""
    take = Text.take

    def broken(text: Text, token: int, logprobs: TokenLogprobs | None, outbox: Outbox) -> bool:
        if text.generation is bad:
            raise RuntimeError("broken")
        return take(text, token, logprobs, outbox)

    monkeypatch.setattr(Text, "take", broken)
    caller = Caller()
    bad = caller.add(GenerationRequest("a", 10, seed=1), generator)
    good = caller.add(GenerationRequest("b", 10, seed=2), generator)
    caller.finish()
    assert [type(event) for event in caller.events[bad]] == [PromptRead, RuntimeError]
    assert isinstance(caller.events[good][-1], TextFinished)


def test_texts_that_end_in_a_turn_that_breaks_are_told(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`fail_all` dropped the outbox: who had left the rows in that turn waited for ever."""
    caller = Caller()
    ends = caller.add(GenerationRequest("a", 2, seed=1), generator)
    goes_on = caller.add(GenerationRequest("b", 10, seed=2), generator)
    drop_empty = caller.decoder._drop_empty
    drops = 0

    def break_at_the_end() -> None:
        nonlocal drops
        drops += 1
        if drops == 2:  # the first is before the step
            raise RuntimeError("broken")
        drop_empty()

    monkeypatch.setattr(caller.decoder, "_drop_empty", break_at_the_end)
    told = caller.decoder.read()  # both prompts, and the first token of both texts
    with pytest.raises(RuntimeError):
        caller.decoder.step()
    told += caller.decoder.fail_all(RuntimeError("gone"))
    events = {
        generation: [event for to, event in told if to is generation]
        for generation in (ends, goes_on)
    }
    assert isinstance(events[ends][-1], TextFinished)
    assert isinstance(events[goes_on][-1], RuntimeError)
    assert not any(isinstance(event, Exception) for event in events[ends])


def test_fail_all_tells_everyone_once(generator: Generator) -> None:
    caller = Caller(slots=3)
    for i in range(4):
        caller.add(GenerationRequest("a", 10, n=2 if i else 1, seed=i), generator)
    caller.turn()
    told = caller.decoder.fail_all(RuntimeError("gone"))
    assert sorted(map(id, (generation for generation, _ in told))) == sorted(map(id, caller.events))
    assert not caller.decoder.busy
