"""Texts as a classifier reads them: cut to a length, and never empty."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from rnn.config.classification import TruncationName

Part = TypeVar("Part")


@dataclass(frozen=True)
class EncodedText:
    """Tokens of one text, never empty; `known_share` is that of the tokens seen in training."""

    tokens: list[int]
    truncated: bool
    known_share: float


def encoded_text(
    tokens: list[int], *, max_tokens: int, truncation: TruncationName, unknown: int | None
) -> EncodedText:
    """The tokens that are read of a text.

    Args:
        tokens: of the whole text, at least one.
        unknown: stands for what was not seen in training, if there is such a token.
    """
    kept = cut(tokens, max_tokens=max_tokens, truncation=truncation)
    known = sum(token != unknown for token in kept)
    return EncodedText(kept, len(tokens) > max_tokens, known / len(kept))


def cut(tokens: Sequence[Part], *, max_tokens: int, truncation: TruncationName) -> list[Part]:
    """The first of what stands for the tokens of a text, the last, or half from each end (the
    larger half in front)."""
    if len(tokens) <= max_tokens:
        return [*tokens]
    at_end = {"start": 0, "end": max_tokens, "both": max_tokens // 2}[truncation]
    return [*tokens[: max_tokens - at_end], *tokens[len(tokens) - at_end :]]
