"""Texts as a classifier reads them, with words of its own or a language model's tokens."""

import pytest

from rnn.classification.reading import make_reader
from rnn.config.classification import TruncationName
from rnn.errors import CheckpointError
from rnn.tokenizers import (
    CharacterTokenizer,
    SavedTokenizer,
    SpacedWordTokenizer,
    WordTokenizer,
)
from rnn.tokenizers.encoded import encoded_text

WORDS = WordTokenizer.learn(["a b c"], vocabulary_size=10, min_frequency=1)
SPACED = SpacedWordTokenizer.learn(["a b c\n"], vocabulary_size=10)


@pytest.mark.parametrize(
    ("truncation", "kept"),
    [("start", [10, 11, 12]), ("end", [14, 15, 16]), ("both", [10, 11, 16])],
)
def test_what_is_kept_of_a_long_text(truncation: TruncationName, kept: list[int]) -> None:
    text = encoded_text(list(range(10, 17)), max_tokens=3, truncation=truncation, unknown=16)
    assert text.tokens == kept
    assert text.truncated
    assert text.known_share == pytest.approx(1 - kept.count(16) / 3)


@pytest.mark.parametrize("truncation", ["start", "end", "both"])
def test_a_text_that_is_not_too_long_is_kept(truncation: TruncationName) -> None:
    text = encoded_text([3, 4, 5], max_tokens=3, truncation=truncation, unknown=None)
    assert (text.tokens, text.truncated, text.known_share) == ([3, 4, 5], False, 1.0)


def test_one_token_is_kept_at_either_end() -> None:
    for truncation, kept in (("start", 1), ("end", 9), ("both", 1)):
        text = encoded_text([1, 5, 9], max_tokens=1, truncation=truncation, unknown=None)
        assert text.tokens == [kept]


def test_a_language_models_words_are_read_as_it_read_them() -> None:
    reader = make_reader("word", SPACED)
    known, unknown, empty = reader.encode(["a b\nc", "zebra c", ""], max_tokens=10)
    assert known.tokens == SPACED.encode("a b\nc")
    assert (known.known_share, unknown.known_share) == (1.0, 0.5)
    assert empty.tokens == SPACED.encode("\n")


def test_bytes_need_no_saved_tokenizer() -> None:
    reader = make_reader("byte", None)
    assert reader.vocabulary_size == 256
    long, empty = reader.encode(["héllo", ""], max_tokens=3, truncation="end")
    assert (long.tokens, long.truncated) == (list(b"llo"), True)
    assert empty.tokens == list(b"\n")


@pytest.mark.parametrize(
    ("name", "tokenizer"),
    [
        (None, None),
        (None, CharacterTokenizer.learn(["abc"], vocabulary_size=10)),
        ("word", WORDS),
        ("word", None),
        ("byte", SPACED),
    ],
)
def test_a_tokenizer_of_another_kind_is_refused(name: None, tokenizer: SavedTokenizer) -> None:
    with pytest.raises(CheckpointError, match="tokenizer"):
        make_reader(name, tokenizer)
