"""Texts as a classifier reads them, with words of its own or the tokens of running text."""

import pytest
from pydantic import ValidationError

from rnn.classification.reading import learn_reader, make_reader
from rnn.config import ClassificationData
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


TEXTS = ["很好看的电影", "很难看的电影", "A good film"]


@pytest.mark.parametrize(
    ("tokenizer", "tokens", "known_share"),
    [("word", 1, 0.0), ("character", 5, 0.8), ("byte", 15, 1.0), ("bpe", 6, 1.0)],
)
def test_a_text_without_spaces(tokenizer: str, tokens: int, known_share: float) -> None:
    """It is one word, that no training text has; 书 comes in none of them."""
    data = ClassificationData.model_validate({"tokenizer": tokenizer, "min_frequency": 1})
    (read,) = learn_reader(TEXTS, data).encode(["很好看的书"], max_tokens=20)
    assert (len(read.tokens), read.known_share) == (tokens, known_share)


def test_words_are_read_as_before_there_was_a_choice() -> None:
    reader = learn_reader(TEXTS, ClassificationData(min_frequency=1))
    assert isinstance(reader, WordTokenizer)
    expected = WordTokenizer.learn(TEXTS, vocabulary_size=20_000, min_frequency=1)
    assert reader.to_json() == expected.to_json()


@pytest.mark.parametrize(("tokenizer", "size"), [("word", 20), ("character", 20), ("bpe", 260)])
def test_no_more_tokens_than_asked_for(tokenizer: str, size: int) -> None:
    chosen = {"tokenizer": tokenizer, "vocabulary_size": size, "min_frequency": 1}
    texts = ["".join(map(chr, range(0x4E00, 0x4E40))), "a b c d e f g h i j k l m n o p q r s t u"]
    reader = learn_reader(texts * 2, ClassificationData.model_validate(chosen))
    assert reader.vocabulary_size == size


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"tokenizer": "bpe", "vocabulary_size": 259}, "vocabulary_size: bpe needs 260"),
        ({"tokenizer": "words"}, "'byte', 'character', 'word' or 'bpe'"),
        ({"tokenizer": None}, "'byte', 'character', 'word' or 'bpe'"),
    ],
)
def test_a_choice_that_cannot_be_is_named(chosen: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ClassificationData.model_validate(chosen)


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
