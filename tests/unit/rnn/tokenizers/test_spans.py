"""Each token's place in the text as it was written."""

from collections.abc import Callable
from unicodedata import normalize

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rnn.tokenizers import ByteTokenizer, Span
from tests.unit.rnn.tokenizers.test_settled import BPE, CHARACTERS, JOINING, SPACED, WORDS

BYTES = ByteTokenizer()
TOKENIZERS: dict[str, tuple[Callable[[str], list[int]], Callable[[str], list[Span]]]] = {
    "byte": (BYTES.encode, BYTES.spans),
    "character": (CHARACTERS.encode, CHARACTERS.spans),
    "spaced": (SPACED.encode, SPACED.spans),
    "bpe": (BPE.encode, BPE.spans),
    "word": (WORDS.tokens, WORDS.spans),
}
texts = st.text(st.sampled_from(JOINING) | st.characters(codec="utf-8"), max_size=20)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=300, deadline=None)
@given(text=texts)
@example(text="  the  end\n\n of \U0001f468\u200d\U0001f469\u200d\U0001f467 it")
@example(text="cafe\u0301, \ufb01ne \u00bd \u01c4")
def test_each_token_has_a_place_and_they_are_in_order(name: str, text: str) -> None:
    encode, spans = TOKENIZERS[name]
    places = spans(text)
    assert len(places) == len(encode(text))
    assert all(0 <= start < end <= len(text) for start, end in places)
    assert places == sorted(places)


@pytest.mark.parametrize("name", ["byte", "character", "bpe"])
@settings(max_examples=200, deadline=None)
@given(text=texts)
def test_they_leave_out_nothing(name: str, text: str) -> None:
    covered = {place for start, end in TOKENIZERS[name][1](text) for place in range(start, end)}
    assert covered == set(range(len(text)))


@settings(max_examples=200, deadline=None)
@given(text=texts)
def test_bytes_are_those_of_their_character(text: str) -> None:
    for token, (start, end) in zip(BYTES.encode(text), BYTES.spans(text), strict=True):
        assert token in text[start:end].encode()


@settings(max_examples=200, deadline=None)
@given(text=texts)
def test_pieces_of_words_are_where_they_are_written(text: str) -> None:
    for token, (start, end) in zip(BPE.encode(text), BPE.spans(text), strict=True):
        assert BPE._bytes[token] in text[start:end].encode()


@pytest.mark.parametrize("name", ["character", "spaced"])
@settings(max_examples=200, deadline=None)
@given(text=texts)
def test_a_token_is_that_of_its_place_alone(name: str, text: str) -> None:
    encode, spans = TOKENIZERS[name]
    assert [encode(text[start:end])[0] for start, end in spans(text)] == encode(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The END, of it!!", ["The", "END", ",", "of", "it", "!!"]),
        ("  cafe\u0301 noir", ["cafe\u0301", "noir"]),
        ("a \U0001f600\U0001f600 b", ["a", "\U0001f600\U0001f600", "b"]),
        ("\U0001f468\u200d\U0001f469 x", ["\U0001f468", "\u200d", "\U0001f469", "x"]),
        ("\ufb01ne \uff37\uff29\uff24\uff25", ["\ufb01ne", "\uff37\uff29\uff24\uff25"]),
        (
            "e\u0301\u0323 \u1112\u1161\u11ab \u0939\u093f",
            ["e\u0301\u0323", "\u1112\u1161\u11ab", "\u0939\u093f"],
        ),
    ],
)
def test_words_are_found_as_they_were_written(text: str, words: list[str]) -> None:
    """Although they are read in lower case and in one of the forms that a character can have."""
    assert [text[start:end] for start, end in WORDS.spans(text)] == words


@settings(max_examples=300, deadline=None)
@given(text=texts)
def test_what_is_in_no_word_is_blank(text: str) -> None:
    covered = {place for start, end in WORDS.spans(text) for place in range(start, end)}
    left = "".join(c for place, c in enumerate(text) if place not in covered)
    assert not normalize("NFKC", left).strip()
