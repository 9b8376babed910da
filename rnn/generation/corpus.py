"""A text as tokens in three parts: to learn from, to choose by, to judge by."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnn.config import GenerationConfig
from rnn.data.examples import CorpusExamples
from rnn.generation.lanes import TokenArray
from rnn.generation.sizes import part_sizes
from rnn.tokenizers import (
    BpeTokenizer,
    ByteTokenizer,
    CharacterTokenizer,
    LearnedTextTokenizer,
    SavedTokenizer,
    SpacedWordTokenizer,
    WordTokenizer,
)

ByteArray = NDArray[np.uint8]

_PIECE_BYTES = 2**20
_WORD_BYTES = 2**12  # a longer run without white space is no word, and may be cut anywhere
_SPACES = np.frombuffer(b" \t\n\r", dtype=np.uint8)


@dataclass(frozen=True)
class Part:
    """Tokens `first` to `end` of a corpus, and the characters of the text that they stand for."""

    first: int
    end: int
    characters: int

    @property
    def tokens(self) -> int:
        return self.end - self.first


@dataclass(frozen=True)
class Corpus:
    """Attributes:
    tokens: [N], training part first, then validation, then test.
    tokenizer: learned from the training part; None: the tokens are bytes.
    """

    tokens: TokenArray
    training: Part
    validation: Part
    test: Part
    tokenizer: LearnedTextTokenizer | None

    @property
    def vocabulary_size(self) -> int:
        return (self.tokenizer or ByteTokenizer()).vocabulary_size


def read_corpus(
    examples: CorpusExamples, config: GenerationConfig, saved: SavedTokenizer | None = None
) -> Corpus:
    """Splits a text, learns its tokens from the training part and encodes all of it once.

    Args:
        saved: the tokenizer of the network that the training starts from, which is used instead.
    """
    data = examples.data
    by_bytes = config.data.tokenizer == "byte"
    training_bytes, validation_bytes, _ = _parts(examples, config)
    cuts = [training_bytes, training_bytes + validation_bytes]
    if not by_bytes:
        cuts = [_word_start(data, cut) for cut in cuts]
    parts = [data[: cuts[0]], data[cuts[0] : cuts[1]], data[cuts[1] :]]
    tokenizer = None if by_bytes else _learn(parts[0], config) if saved is None else saved
    assert not isinstance(tokenizer, WordTokenizer), "of classifiers only"
    encoded = [part if tokenizer is None else _encode(part, tokenizer) for part in parts]
    ends = np.cumsum([len(tokens) for tokens in encoded]).tolist()
    training, validation, test = (
        Part(end - len(tokens), end, _characters(part))
        for part, tokens, end in zip(parts, encoded, ends, strict=True)
    )
    tokens = data if tokenizer is None else np.concatenate(encoded).astype(np.int32, copy=False)
    return Corpus(tokens, training, validation, test, tokenizer)


def text_pieces(data: ByteArray) -> Iterator[str]:
    """A text in pieces of about a mebibyte, each but the first beginning with the white space after
    a word: words, line breaks and pieces of words are those of the whole text."""
    begin = 0
    while begin < len(data):
        end = _word_end(data, begin + _PIECE_BYTES)
        yield bytes(data[begin:end]).decode("utf-8", errors="replace")
        begin = end


def _parts(examples: CorpusExamples, config: GenerationConfig) -> tuple[int, int, int]:
    """Bytes for training, validation and test. A data set's own parts are used if it has them; a
    validation part that it lacks is taken off the end of its training part."""
    if examples.parts is None:
        return part_sizes(len(examples.data), config.data)
    training, validation, test = examples.parts
    if not validation:
        validation = int(training * config.data.validation_fraction)
        training -= validation
    return training, validation, test


def _learn(data: ByteArray, config: GenerationConfig) -> LearnedTextTokenizer:
    size = config.data.vocabulary_size
    match config.data.tokenizer:
        case "character":
            return CharacterTokenizer.learn(text_pieces(data), vocabulary_size=size)
        case "word":
            return SpacedWordTokenizer.learn(text_pieces(data), vocabulary_size=size)
        case "bpe":
            return BpeTokenizer.learn(lambda: text_pieces(data), vocabulary_size=size)
        case "byte":
            raise AssertionError("bytes are not learned")


def _encode(data: ByteArray, tokenizer: LearnedTextTokenizer) -> NDArray[np.int32]:
    pieces = [np.array(tokenizer.encode(piece), dtype=np.int32) for piece in text_pieces(data)]
    return np.concatenate([np.zeros(0, dtype=np.int32), *pieces])


def _characters(data: ByteArray) -> int:
    return int(np.count_nonzero(_begins_character(data)))


def _character_start(data: ByteArray, cut: int) -> int:
    """The first place from a cut on where a character begins, or the end of the text."""
    begins = np.flatnonzero(_begins_character(data[cut : cut + 4]))
    return cut + int(begins[0]) if len(begins) else len(data)


def _begins_character(data: ByteArray) -> NDArray[np.bool_]:
    begins: NDArray[np.bool_] = (data & 0xC0) != 0x80
    return begins


def _word_start(data: ByteArray, cut: int) -> int:
    """The first place from a cut on where a word or, for want of one, a character begins."""
    if cut == 0 or cut >= len(data):
        return cut
    after_space = np.flatnonzero(np.isin(data[cut - 1 : cut + _WORD_BYTES - 1], _SPACES))
    if len(after_space):
        return cut + int(after_space[0])
    return _character_start(data, cut)


def _word_end(data: ByteArray, cut: int) -> int:
    """The first place from a cut on where a word has just ended or, for want of one, a character
    begins."""
    if cut >= len(data):
        return len(data)
    space = np.isin(data[cut - 1 : cut + _WORD_BYTES], _SPACES)
    ends = np.flatnonzero(~space[:-1] & space[1:])
    if len(ends):
        return cut + int(ends[0])
    return _character_start(data, cut)
