"""Words between white space as tokens, as the language models of the Penn Treebank read them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from rnn.tokenizers.text import Span
from rnn.tokenizers.vocabulary import most_frequent, tokens_from_json, tokens_to_json

UNKNOWN_WORD = "<unk>"
LINE_END = "<eos>"
_TOKENS = re.compile(r"\n|\S+")


class SpacedWordTokenizer:
    """Words as they are written, and a token for a line's end.

    Text that holds the two special tokens by name, as published data sets do, means them.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)
        self._numbers = {word: number for number, word in enumerate(words)}
        self._unknown, self._line_end = self._numbers[UNKNOWN_WORD], self._numbers[LINE_END]

    @classmethod
    def learn(cls, pieces: Iterable[str], *, vocabulary_size: int) -> "SpacedWordTokenizer":
        """The most frequent words of a text that comes in pieces cut at white space."""
        counts: Counter[str] = Counter()
        for piece in pieces:
            counts.update(piece.split())
            counts[LINE_END] += piece.count("\n")
        return cls(most_frequent(counts, vocabulary_size, unknown=UNKNOWN_WORD, kept=(LINE_END,)))

    @classmethod
    def from_json(cls, text: str) -> "SpacedWordTokenizer":
        return cls(tokens_from_json(text, UNKNOWN_WORD, LINE_END))

    def to_json(self) -> str:
        return tokens_to_json(self._words)

    @property
    def vocabulary_size(self) -> int:
        return len(self._words)

    @property
    def unknown_token(self) -> int:
        return self._unknown

    def encode(self, text: str) -> list[int]:
        numbers, unknown = self._numbers, self._unknown
        tokens: list[int] = []
        for index, line in enumerate(text.split("\n")):
            if index:
                tokens.append(self._line_end)
            tokens += [numbers.get(word, unknown) for word in line.split()]
        return tokens

    def spans(self, text: str) -> list[Span]:
        return [found.span() for found in _TOKENS.finditer(text)]

    def decoder(self, prompt: str = "") -> "SpacedWordDecoder":
        begun = bool(prompt) and not prompt[-1].isspace()
        return SpacedWordDecoder(self._words, begun=begun)

    def settled(self, text: str) -> int:
        """Words end with white space."""
        return next((at for at in range(len(text), 0, -1) if text[at - 1].isspace()), 0)


class SpacedWordDecoder:
    """Joins words with spaces and line breaks.

    Args:
        begun: whether there is a word on the line already.
    """

    def __init__(self, words: Sequence[str], *, begun: bool) -> None:
        self._words = words
        self._begun = begun

    def push(self, token: int) -> str:
        word = self._words[token]
        if word == LINE_END:
            self._begun = False
            return "\n"
        text = f" {word}" if self._begun else word
        self._begun = True
        return text

    def finish(self) -> str:
        return ""
