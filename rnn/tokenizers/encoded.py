"""Texts as a classifier reads them: cut to a length, and never empty."""

from dataclasses import dataclass

from rnn.config.classification import TruncationName


@dataclass(frozen=True)
class EncodedText:
    """Tokens of one text, never empty; `known_share` is that of the tokens seen in training."""

    tokens: list[int]
    truncated: bool
    known_share: float


def encoded_text(
    tokens: list[int], *, max_tokens: int, truncation: TruncationName, unknown: int | None
) -> EncodedText:
    """The first tokens of a text, its last, or half from each end (the larger half in front).

    Args:
        tokens: of the whole text, at least one.
        unknown: stands for what was not seen in training, if there is such a token.
    """
    kept = tokens
    if len(tokens) > max_tokens:
        at_end = {"start": 0, "end": max_tokens, "both": max_tokens // 2}[truncation]
        kept = tokens[: max_tokens - at_end] + tokens[len(tokens) - at_end :]
    known = sum(token != unknown for token in kept)
    return EncodedText(kept, len(tokens) > max_tokens, known / len(kept))
