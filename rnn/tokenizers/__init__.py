"""Text to numbers and back, one module a kind of token."""

from typing import TypeAlias

from rnn.config.base import TextTokenizerName
from rnn.tokenizers.bpe import BpeTokenizer
from rnn.tokenizers.byte import ByteTokenizer, Utf8Decoder
from rnn.tokenizers.character import CharacterTokenizer
from rnn.tokenizers.encoded import EncodedText
from rnn.tokenizers.spaced import SpacedWordTokenizer
from rnn.tokenizers.text import Span, TextDecoder, TextTokenizer
from rnn.tokenizers.word import PAD_TOKEN, UNKNOWN_TOKEN, WordTokenizer

__all__ = [
    "PAD_TOKEN",
    "UNKNOWN_TOKEN",
    "BpeTokenizer",
    "ByteTokenizer",
    "CharacterTokenizer",
    "EncodedText",
    "LearnedTextTokenizer",
    "SavedTokenizer",
    "SpacedWordTokenizer",
    "Span",
    "TextDecoder",
    "TextTokenizer",
    "Utf8Decoder",
    "WordTokenizer",
    "text_tokenizer_from_json",
]

# Of running text; they are saved with the model, which bytes need not be.
LearnedTextTokenizer: TypeAlias = CharacterTokenizer | SpacedWordTokenizer | BpeTokenizer
SavedTokenizer: TypeAlias = WordTokenizer | LearnedTextTokenizer


def text_tokenizer_from_json(name: TextTokenizerName, text: str) -> LearnedTextTokenizer:
    """The tokenizer of that name whose `to_json` wrote the text; ValueError if it did not."""
    match name:
        case "character":
            return CharacterTokenizer.from_json(text)
        case "word":
            return SpacedWordTokenizer.from_json(text)
        case "bpe":
            return BpeTokenizer.from_json(text)
        case "byte":
            raise ValueError("bytes need no tokenizer")
