"""Tokens learned from a text by how often they come, the most frequent first.

That order is what an adaptive softmax needs, and makes a vocabulary a function of the text alone.
"""

import json
from collections import Counter
from collections.abc import Sequence


def most_frequent(
    counts: Counter[str],
    size: int,
    *,
    unknown: str,
    kept: Sequence[str],
    min_frequency: int = 1,
) -> list[str]:
    """The tokens of a vocabulary, the most frequent first, equally frequent ones in alphabetical
    order. Those that find no place count as unknown.

    Args:
        size: tokens at most.
        unknown: stands for all others, whether or not there are any.
        kept: further tokens that have their place however rare they are.
        min_frequency: rarer ones find no place.
    """
    always = {unknown, *kept}
    others = sorted(counts.keys() - always, key=lambda token: (-counts[token], token))
    frequent = sum(counts[token] >= min_frequency for token in others)
    place = min(frequent, max(0, size - len(always)))
    frequency = {token: counts[token] for token in (*always, *others[:place])}
    frequency[unknown] += sum(counts[token] for token in others[place:])
    return sorted(frequency, key=lambda token: (-frequency[token], token))


def tokens_to_json(tokens: Sequence[str]) -> str:
    return json.dumps({"tokens": list(tokens)}, ensure_ascii=False, indent=0) + "\n"


def tokens_from_json(text: str, *needed: str) -> list[str]:
    """The tokens that `tokens_to_json` wrote.

    Raises:
        ValueError: it wrote something else, or a needed token is not there.
    """
    document = json.loads(text)
    tokens = document.get("tokens") if isinstance(document, dict) else None
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ValueError("a vocabulary is a list of tokens")
    if len(set(tokens)) < len(tokens) or not set(needed) <= set(tokens):
        raise ValueError("a vocabulary holds each token once and the special ones too")
    return tokens
