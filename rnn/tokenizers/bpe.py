"""Pieces of words as tokens: byte-pair encoding."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from typing import Any

from tokenizers import Encoding, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from rnn.tokenizers.byte import Utf8Decoder
from rnn.tokenizers.text import Span

_CONTRACTION = 3  # characters of the longest one


class BpeTokenizer:
    """Sequences of bytes that come together often (Sennrich et al. 2016, "Neural Machine
    Translation of Rare Words with Subword Units"; over bytes, Radford et al. 2019). Every text can
    be written, with no unknown token; a token may end within a character."""

    unknown_token = None

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        byte_of = _byte_of_character()
        pieces = {number: piece for piece, number in tokenizer.get_vocab().items()}
        self._bytes = [
            bytes(byte_of[character] for character in pieces[number])
            for number in range(len(pieces))
        ]

    @classmethod
    def learn(
        cls,
        pieces: Callable[[], Iterable[str]],
        *,
        vocabulary_size: int,
        min_frequency: int = 1,
    ) -> "BpeTokenizer":
        """Merges learned from a text, then numbered by how often their tokens come in it.

        Args:
            pieces: the text from its beginning, cut before white space; or texts.
            min_frequency: rarer pairs are not merged.
        """
        trained = _byte_level(BPE())
        trainer = BpeTrainer(
            vocab_size=vocabulary_size,
            min_frequency=min_frequency,
            initial_alphabet=ByteLevel.alphabet(),
            show_progress=False,
        )
        trained.train_from_iterator(pieces(), trainer)
        counts: Counter[int] = Counter()
        for piece in pieces():
            counts.update(trained.encode(piece).ids)
        model: dict[str, Any] = json.loads(trained.to_str())["model"]
        by_frequency = sorted(
            model["vocab"].items(), key=lambda entry: (-counts[entry[1]], entry[1])
        )
        vocabulary = {piece: number for number, (piece, _) in enumerate(by_frequency)}
        merges = [tuple(merge) for merge in model["merges"]]
        return cls(_byte_level(BPE(vocabulary, merges)))

    @classmethod
    def from_json(cls, text: str) -> "BpeTokenizer":
        """Raises ValueError for what `to_json` did not write."""
        try:
            return cls(Tokenizer.from_str(text))
        except Exception as error:  # the library raises no class of its own
            raise ValueError(f"no byte-pair encoding: {error}") from error

    def to_json(self) -> str:
        return self._tokenizer.to_str(pretty=True)

    @property
    def vocabulary_size(self) -> int:
        return len(self._bytes)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._encoding(text).ids
        return ids

    def spans(self, text: str) -> list[Span]:
        offsets: list[Span] = self._encoding(text).offsets
        return offsets

    def _encoding(self, text: str) -> Encoding:
        writable = text.encode("utf-8", errors="replace").decode()
        return self._tokenizer.encode(writable, add_special_tokens=False)

    def decoder(self, prompt: str = "") -> "BpeDecoder":  # noqa: ARG002  # spaces are in the pieces
        return BpeDecoder(self._bytes)

    def settled(self, text: str) -> int:
        """Pieces are merged within the words of the pre-tokenizer's expression alone. A word is as
        it is once it is followed by a character, and one that begins with an apostrophe, which may
        be a contraction such as 'll, by as many as that can have."""
        words: list[Span] = []
        for _, (start, end) in self._words(text):
            known = start + _CONTRACTION if text[start] == "'" else 0
            if max(end + 1, known) > len(text):
                break
            words.append((start, end))
        # Two words of white space would be one if the text ended with them.
        if len(words) > 1 and len(self._words(text[words[-2][0] : words[-1][1]])) == 1:
            words.pop()
        return words[-1][1] if words else 0

    def _words(self, text: str) -> list[tuple[str, Span]]:
        words: list[tuple[str, Span]] = self._tokenizer.pre_tokenizer.pre_tokenize_str(text)
        return words


class BpeDecoder:
    """Gives out a character once its last byte is there."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self._characters = Utf8Decoder()

    def __copy__(self) -> "BpeDecoder":
        copied = BpeDecoder(self._pieces)
        copied._characters = copy(self._characters)
        return copied

    def push(self, token: int) -> str:
        return self._characters.push_bytes(self._pieces[token])

    def finish(self) -> str:
        return self._characters.finish()


def _byte_level(model: BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    return tokenizer


def _byte_of_character() -> dict[str, int]:
    """The library writes a byte as the character of its number where that is visible, and the
    others, in order, as the visible characters from 256 on."""
    alphabet = sorted(ByteLevel.alphabet())
    shown = {character: ord(character) for character in alphabet if ord(character) < 256}
    hidden: Iterator[int] = iter(sorted(set(range(256)) - set(shown.values())))
    return shown | {character: next(hidden) for character in alphabet if character not in shown}
