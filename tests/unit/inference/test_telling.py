"""What another thread tells of tokens."""

import threading

import pytest

from rnn.generation.predictor import Generator
from service.inference.channel import ClosedError
from service.inference.generation import Generation
from service.inference.requests import GenerationRequest, TextFinished, TokenDrawn
from service.inference.telling import Drawn, Teller
from service.inference.texts import Outbox, Text


def drawn(model: Generator, token: int, **options: object) -> Drawn:
    request = GenerationRequest("a", 9, **options)  # type: ignore[arg-type]
    return Drawn(Text(Generation(request, model), 0), token, None)


def test_tokens_are_told_by_another_thread_and_ends_by_the_caller(generator: Generator) -> None:
    said: Outbox = []
    threads: list[threading.Thread] = []

    def say(outbox: Outbox) -> None:
        said.extend(outbox)
        threads.append(threading.current_thread())

    teller = Teller(say)
    goes_on, stops = drawn(generator, ord("b")), drawn(generator, ord("c"), stop=("c",))
    teller.add([goes_on, stops])
    assert teller.end() == (set(), [])  # nobody called the kernels yet
    teller.begin()
    teller.begin()
    over, outbox = teller.end()
    assert over == {stops.text}
    assert [event for _, event in outbox] == [TextFinished(0, "", "stop", 1)]
    assert [event for _, event in said] == [
        TokenDrawn(0, ord("b"), "b"),
        TokenDrawn(0, ord("c"), ""),
    ]
    assert threads != [threading.current_thread()]
    assert len(threads) == 1
    teller.close()


def test_a_token_without_a_text_fails_alone(generator: Generator) -> None:
    said: Outbox = []
    teller = Teller(said.extend)
    good, bad = drawn(generator, ord("b")), drawn(generator, 10_000)
    teller.add([bad, good])
    teller.begin()
    over, ((generation, error),) = teller.end()
    assert (over, generation) == ({bad.text}, bad.text.generation)
    assert isinstance(error, Exception)
    assert generation.cancelled
    assert [generation for generation, _ in said] == [good.text.generation]
    teller.close()


def test_who_has_left_is_not_told(generator: Generator) -> None:
    said: Outbox = []
    teller = Teller(said.extend)
    gone = drawn(generator, ord("b"))
    gone.text.generation.cancelled = True
    teller.add([gone])
    teller.begin()
    assert teller.end() == ({gone.text}, [])
    assert not said
    teller.close()


def test_an_api_process_that_has_left_is_noticed(generator: Generator) -> None:
    def say(_outbox: Outbox) -> None:
        raise ClosedError

    teller = Teller(say)
    teller.add([drawn(generator, ord("b"))])
    teller.begin()
    with pytest.raises(ClosedError):
        teller.end()
    assert teller.end() == (set(), [])
    teller.close()
