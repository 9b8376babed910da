"""A text cut into parts and encoded."""

import numpy as np
import pytest

from rnn.data.examples import CorpusExamples
from rnn.generation import corpus as corpus_module
from rnn.generation.corpus import Corpus, read_corpus, text_pieces
from rnn.generation.resolve import resolve_generation
from rnn.tokenizers import SpacedWordTokenizer
from tests.unit.rnn.generation.cases import config

TEXT = "".join(f"the café of {index} — closed\nnow\n" for index in range(200))


def examples(text: str, parts: tuple[int, int, int] | None = None) -> CorpusExamples:
    return CorpusExamples(np.frombuffer(text.encode(), dtype=np.uint8), parts)


def decoded(corpus: Corpus, first: int, end: int) -> str:
    assert corpus.tokenizer is not None
    decoder = corpus.tokenizer.decoder()
    tokens = corpus.tokens[first:end].tolist()
    return "".join(map(decoder.push, tokens)) + decoder.finish()


@pytest.mark.parametrize("piece_bytes", [1, 7, 100, 10**6])
def test_pieces_join_to_the_text_and_begin_with_the_space_after_a_word(
    piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus_module, "_PIECE_BYTES", piece_bytes)
    pieces = list(text_pieces(examples(TEXT).data))
    assert "".join(pieces) == TEXT
    assert all(piece[0].isspace() for piece in pieces[1:])
    assert (len(pieces) > 1) == (piece_bytes < 10**6)


def test_text_without_space_is_cut_between_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_module, "_PIECE_BYTES", 10)
    text = "雪だるまの冬" * 1000
    assert "".join(text_pieces(examples(text).data)) == text


@pytest.mark.parametrize("tokenizer", ["character", "word", "bpe"])
def test_tokens_of_the_parts_are_those_of_their_texts(
    tokenizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = config(data={"tokenizer": tokenizer, "validation_fraction": 0.1, "test_fraction": 0.2})
    corpus = read_corpus(examples(TEXT), chosen)
    whole = decoded(corpus, 0, len(corpus.tokens))
    parts = [
        decoded(corpus, part.first, part.end)
        for part in (corpus.training, corpus.validation, corpus.test)
    ]
    lengths = [part.characters for part in (corpus.training, corpus.validation, corpus.test)]
    assert sum(lengths) == len(TEXT)
    np.testing.assert_allclose(np.array(lengths) / len(TEXT), [0.7, 0.1, 0.2], atol=0.01)
    if tokenizer != "word":  # two of its words may be parted by any white space
        assert "".join(parts) == whole == TEXT
        assert list(map(len, parts)) == lengths
    # Encoded in small pieces, the tokens are the same.
    monkeypatch.setattr(corpus_module, "_PIECE_BYTES", 50)
    np.testing.assert_array_equal(read_corpus(examples(TEXT), chosen).tokens, corpus.tokens)


def test_words_are_learned_from_the_training_part_alone() -> None:
    text = "old words here\n" * 50 + "new words there\n" * 5
    parts = (15 * 50, 16 * 3, 16 * 2)
    corpus = read_corpus(examples(text, parts), config())
    assert isinstance(corpus.tokenizer, SpacedWordTokenizer)
    assert decoded(corpus, corpus.validation.first, corpus.validation.end) == (
        "<unk> words <unk>\n" * 3
    )
    assert (corpus.training.tokens, corpus.validation.tokens, corpus.test.tokens) == (200, 12, 8)


def test_parts_without_validation_hold_out_the_end_of_the_training_part() -> None:
    text = "a b c d\n" * 100 + "e f\n" * 10
    chosen = config(data={"validation_fraction": 0.25, "split_column": "part"})
    corpus = read_corpus(examples(text, (800, 0, 40)), chosen)
    assert (corpus.training.tokens, corpus.validation.tokens, corpus.test.tokens) == (375, 125, 30)


def test_bytes_are_cut_where_they_always_were() -> None:
    data = examples("é" * 50)
    corpus = read_corpus(data, config(data={"tokenizer": "byte", "validation_fraction": 0.13}))
    assert corpus.tokenizer is None
    assert corpus.tokens is data.data
    assert (corpus.training.end, corpus.validation.end) == (87, 100)
    assert corpus.validation.characters == 6


@pytest.mark.parametrize("tokenizer", ["byte", "character", "word", "bpe"])
def test_resolving_promises_no_more_steps_than_the_tokens_give(tokenizer: str) -> None:
    """With `max_steps` alone the epochs must reach it, however many bytes a token has."""
    text = {"bytes": len(TEXT.encode())}
    chosen = config(
        data={"tokenizer": tokenizer}, max_steps=900, max_epochs=None, early_stopping_patience=None
    )
    resolved = resolve_generation(chosen, text)
    corpus = read_corpus(examples(TEXT), resolved)
    steps = corpus.training.tokens // (resolved.training.batch_size * 12) - 2
    assert resolved.training.max_epochs is not None
    assert resolved.training.max_epochs * max(1, steps) >= 900


def test_resolving_follows_the_parts_of_the_data_set() -> None:
    text = {"bytes": 10_000, "splits": {"train": 100, "validation": 50, "test": 9_850}}
    chosen = config(data={"tokenizer": "byte", "split_column": "part"}, batch_size=50)
    assert resolve_generation(chosen, text).training.batch_size == 50
    unsplit = config(data={"tokenizer": "byte"}, batch_size=51)
    assert resolve_generation(unsplit, text).training.batch_size == 51
    too_many = config(data={"tokenizer": "byte", "split_column": "part"}, batch_size=51)
    with pytest.raises(ValueError, match="batch_size 51 needs 102 bytes"):
        resolve_generation(too_many, text)
