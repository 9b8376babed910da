"""Characters as tokens."""

from collections import Counter
from collections.abc import Iterable, Sequence

from rnn.tokenizers.text import Span
from rnn.tokenizers.vocabulary import most_frequent, tokens_from_json, tokens_to_json

UNKNOWN_CHARACTER = "\ufffd"


class CharacterTokenizer:
    """Unicode code points that a text holds; all others are the replacement character."""

    def __init__(self, characters: Sequence[str]) -> None:
        self._characters = list(characters)
        self._numbers = {character: number for number, character in enumerate(characters)}
        self._unknown = self._numbers[UNKNOWN_CHARACTER]

    @classmethod
    def learn(
        cls, pieces: Iterable[str], *, vocabulary_size: int, min_frequency: int = 1
    ) -> "CharacterTokenizer":
        """The most frequent characters of a text that comes in pieces."""
        counts: Counter[str] = Counter()
        for piece in pieces:
            counts.update(piece)
        characters = most_frequent(
            counts,
            vocabulary_size,
            unknown=UNKNOWN_CHARACTER,
            kept=(),
            min_frequency=min_frequency,
        )
        return cls(characters)

    @classmethod
    def from_json(cls, text: str) -> "CharacterTokenizer":
        return cls(tokens_from_json(text, UNKNOWN_CHARACTER))

    def to_json(self) -> str:
        return tokens_to_json(self._characters)

    @property
    def vocabulary_size(self) -> int:
        return len(self._characters)

    @property
    def unknown_token(self) -> int:
        return self._unknown

    def encode(self, text: str) -> list[int]:
        numbers, unknown = self._numbers, self._unknown
        return [numbers.get(character, unknown) for character in text]

    def spans(self, text: str) -> list[Span]:
        return [(place, place + 1) for place in range(len(text))]

    def decoder(self, prompt: str = "") -> "CharacterDecoder":  # noqa: ARG002  # they join as they are
        return CharacterDecoder(self._characters)

    def settled(self, text: str) -> int:
        return len(text)


class CharacterDecoder:
    def __init__(self, characters: Sequence[str]) -> None:
        self._characters = characters

    def push(self, token: int) -> str:
        return self._characters[token]

    def finish(self) -> str:
        return ""
