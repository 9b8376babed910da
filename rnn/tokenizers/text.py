"""What a language model needs of its tokenizer."""

from typing import Protocol, TypeAlias

Span: TypeAlias = tuple[int, int]
"""Where a token stands in a text: its first character and the one after its last. Tokens that are
parts of one character share its place."""


class TextDecoder(Protocol):
    """One stream of tokens turned into text as it comes; a copy goes on by itself."""

    def push(self, token: int) -> str:
        """The text that this token completes, sometimes none."""
        ...

    def finish(self) -> str:
        """What is left where the tokens ended within a character."""
        ...


class TextTokenizer(Protocol):
    """Text to tokens and back, for texts that are continued."""

    @property
    def vocabulary_size(self) -> int: ...

    @property
    def unknown_token(self) -> int | None:
        """Stands for what was not in the text that it was learned from; None: everything was."""
        ...

    def encode(self, text: str) -> list[int]:
        """Tokens of a text; the empty text has none."""
        ...

    def spans(self, text: str) -> list[Span]:
        """Where the tokens of a text stand in it."""
        ...

    def decoder(self, prompt: str = "") -> TextDecoder:
        """A new decoder for the tokens that follow a prompt."""
        ...

    def settled(self, text: str) -> int:
        """How many first characters may be encoded by themselves, whatever follows the text: their
        tokens and those of the rest are the tokens of the whole."""
        ...
