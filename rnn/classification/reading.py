"""What a classifier reads texts with: words of its own, or the tokens of running text."""

from collections.abc import Sequence
from typing import TypeAlias

from rnn.config import ClassificationData
from rnn.config.base import TextTokenizerName
from rnn.config.classification import TruncationName
from rnn.errors import CheckpointError
from rnn.tokenizers import (
    BpeTokenizer,
    ByteTokenizer,
    CharacterTokenizer,
    EncodedText,
    LearnedTextTokenizer,
    SavedTokenizer,
    Span,
    WordTokenizer,
)
from rnn.tokenizers.encoded import encoded_text

_LINE_BREAK = "\n"


class TextReader:
    """Reads labelled texts in the tokens of running text, a language model's or their own.

    Attributes:
        name: of the kind of token.
        learned: what must be saved of it; None: bytes.
    """

    def __init__(self, name: TextTokenizerName, learned: LearnedTextTokenizer | None) -> None:
        self.name = name
        self.learned = learned
        self._tokenizer = learned or ByteTokenizer()

    @property
    def vocabulary_size(self) -> int:
        return self._tokenizer.vocabulary_size

    def encode(
        self, texts: Sequence[str], *, max_tokens: int, truncation: TruncationName = "start"
    ) -> list[EncodedText]:
        """Tokens of each text, at most `max_tokens`. The empty text is a line break."""
        return [
            encoded_text(
                self._tokenizer.encode(text) or self._tokenizer.encode(_LINE_BREAK),
                max_tokens=max_tokens,
                truncation=truncation,
                unknown=self._tokenizer.unknown_token,
            )
            for text in texts
        ]

    @property
    def unknown_token(self) -> int | None:
        return self._tokenizer.unknown_token

    @property
    def nothing(self) -> Sequence[int]:
        """Stands for a text without tokens."""
        return self._tokenizer.encode(_LINE_BREAK)

    def tokens(self, text: str) -> list[int]:
        """All tokens of one text; the empty text has none."""
        return self._tokenizer.encode(text)

    def spans(self, text: str) -> list[Span]:
        """Where these stand in it."""
        return self._tokenizer.spans(text)

    def settled(self, text: str) -> int:
        """How many first characters may be encoded by themselves, whatever follows the text."""
        return self._tokenizer.settled(text)


Reader: TypeAlias = WordTokenizer | TextReader


def learn_reader(texts: Sequence[str], data: ClassificationData) -> Reader:
    """The reader that a configuration names, learned from the texts of the training part."""
    size, rarest = data.vocabulary_size, data.min_frequency
    match data.tokenizer:
        case "word":
            return WordTokenizer.learn(texts, vocabulary_size=size, min_frequency=rarest)
        case "character":
            learned = CharacterTokenizer.learn(texts, vocabulary_size=size, min_frequency=rarest)
            return TextReader("character", learned)
        case "bpe":
            pieces = BpeTokenizer.learn(lambda: texts, vocabulary_size=size, min_frequency=rarest)
            return TextReader("bpe", pieces)
        case "byte":
            return TextReader("byte", None)


def make_reader(name: TextTokenizerName | None, tokenizer: SavedTokenizer | None) -> Reader:
    """The reader of a saved classifier or language model.

    Args:
        name: of the kind of token; None: a classifier's own words.
        tokenizer: as it was saved; None: bytes.

    Raises:
        CheckpointError: what was saved is of another kind, or is missing.
    """
    if name is None:
        if isinstance(tokenizer, WordTokenizer):
            return tokenizer
    elif not isinstance(tokenizer, WordTokenizer) and (tokenizer is None) == (name == "byte"):
        return TextReader(name, tokenizer)
    raise CheckpointError("the model lacks its tokenizer, or has one of another kind")
