"""Beam search among other requests."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnn.generation.beam import BeamSettings, Course, FoundText, beam_search
from rnn.generation.predictor import Generator
from rnn.state import HiddenState
from rnn.tokenizers import (
    BpeTokenizer,
    ByteTokenizer,
    SpacedWordTokenizer,
    TextTokenizer,
    Utf8Decoder,
)
from service.errors import ValidationError
from service.inference.beams import Beams, _Endless, _UntilStop
from service.inference.generation import Generation
from service.inference.prefix_cache import Snapshot
from service.inference.requests import GenerationRequest, TextFinished
from service.inference.stops import StopFilter
from service.inference.texts import Text
from tests.unit.inference.test_decode import Caller, alone

SEARCH = GenerationRequest("the cat ", 12, n=3, num_beams=4, logprobs=2)


def found(model: Generator, request: GenerationRequest) -> list[FoundText]:
    """What the search itself finds."""
    course: Course = _Endless()
    if request.stop:
        course = _UntilStop(model.decoder(request.prompt), StopFilter(request.stop))
    scores_v, state = model.prefill(model.encode(request.prompt), model.initial_state(1))
    settings = BeamSettings(
        request.num_beams, request.max_new_tokens, request.length_penalty, request.logprobs or 0
    )
    with torch.inference_mode():
        turns = beam_search(model, scores_v, state, course, settings)
        while True:
            try:
                next(turns)
            except StopIteration as end:
                texts: list[FoundText] = end.value
                return texts


def test_the_n_best_are_told_and_others_go_on(generator: Generator) -> None:
    expected = found(generator, SEARCH)
    drawn = GenerationRequest("a", 20, seed=1)
    caller = Caller()
    other = caller.add(drawn, generator)
    searching = caller.add(SEARCH, generator)
    caller.turn()
    assert caller.decoder.rows == 5  # four beams and the other
    caller.finish()
    for index, best in enumerate(expected[:3]):
        tokens = caller.tokens(searching, index)
        assert [token.token for token in tokens] == best.tokens
        assert [token.logprob for token in tokens] == [told.chosen for told in best.logprobs]
        assert [
            tuple((each.token, each.logprob) for each in token.likeliest) for token in tokens
        ] == [told.likeliest for told in best.logprobs]
    ends = [event for event in caller.events[searching] if isinstance(event, TextFinished)]
    assert [(end.index, end.finish_reason, end.tokens) for end in ends] == [
        (index, "length", 12) for index in range(3)
    ]
    scores = [best.score for best in expected]
    assert scores == sorted(scores, reverse=True)
    single, one = alone(drawn, generator)
    assert caller.text(other) == single.text(one)
    assert caller.decoder.rows == 0


def test_a_stop_string_ends_a_beam_and_is_no_part_of_its_text(generator: Generator) -> None:
    whole, one = alone(GenerationRequest("the cat ", 12, num_beams=3), generator)
    stop = whole.text(one)[4:6]
    request = GenerationRequest("the cat ", 12, n=3, num_beams=3, stop=(stop,), length_penalty=0.0)
    caller, generation = alone(request, generator)
    texts = [caller.text(generation, index) for index in range(3)]
    ends = [event for event in caller.events[generation] if isinstance(event, TextFinished)]
    assert "stop" in {end.finish_reason for end in ends}
    assert not any(stop in text for text in texts)
    for index, best in enumerate(found(generator, request)):
        assert [token.token for token in caller.tokens(generation, index)] == best.tokens


def test_a_cancelled_search_gives_its_rows_back(generator: Generator) -> None:
    caller = Caller(slots=4)
    searching = caller.add(GenerationRequest("a", 5_000, num_beams=4), generator)
    caller.turn()
    caller.turn()
    next_one = caller.add(GenerationRequest("b", 3), generator)
    caller.turn()
    assert not caller.events[next_one]
    searching.cancelled = True
    caller.finish()
    assert len(caller.tokens(next_one)) == 3


class Small:
    """A network of three tokens."""

    def decoder(self, prompt: str) -> Utf8Decoder:
        assert prompt == "a"
        return Utf8Decoder()


def test_fewer_texts_than_asked_for_are_an_error() -> None:
    request = GenerationRequest("a", 1, n=8, num_beams=8)
    generation = Generation(request, Small())  # type: ignore[arg-type]
    texts = [Text(generation, index) for index in range(8)]
    read = Snapshot(torch.zeros(3), HiddenState(torch.zeros(1, 1, 1)))
    with pytest.raises(ValidationError, match=r"8 texts are asked for.* only 3"):
        Beams(generation, texts, read).turn([])


def test_a_decoder_that_breaks_tells_who_searches(generator: Generator) -> None:
    caller = Caller()
    searching = caller.add(GenerationRequest("a", 50, n=2, num_beams=2), generator)
    caller.turn()
    (told,) = caller.decoder.fail_all(RuntimeError("gone"))
    assert told[0] is searching
    assert isinstance(told[1], RuntimeError)
    assert not caller.decoder.busy


def tokenizers() -> list[TextTokenizer]:
    text = "the quick brown fox — läuft 雪 \n" * 5
    return [
        ByteTokenizer(),
        SpacedWordTokenizer.learn([text], vocabulary_size=50),
        BpeTokenizer.learn(lambda: [text], vocabulary_size=280),
    ]


@pytest.mark.parametrize("tokenizer", tokenizers(), ids=lambda tokenizer: type(tokenizer).__name__)
@given(st.data())
def test_a_copy_of_a_text_goes_on_by_itself(tokenizer: TextTokenizer, data: st.DataObject) -> None:
    token = st.integers(0, tokenizer.vocabulary_size - 1)
    tokens, others = (data.draw(st.lists(token, max_size=12)) for _ in range(2))
    cut = data.draw(st.integers(0, len(tokens)))
    stops = data.draw(st.lists(st.text("the qu", min_size=1, max_size=2), max_size=2))

    def after(course: _UntilStop, more: list[int]) -> list[bool]:
        ended = []
        for each in more:
            if not course.ended:
                course = course.then(each)
            ended.append(course.ended)
        return ended

    def begun() -> _UntilStop:
        return _UntilStop(tokenizer.decoder(), StopFilter(stops))

    shared = begun()
    for each in tokens[:cut]:
        shared = shared if shared.ended else shared.then(each)
    after(shared, others)
    assert after(shared, tokens[cut:]) == after(begun(), tokens)[cut:]
