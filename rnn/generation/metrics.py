"""Held-out figures of language models."""

import math

_LARGEST_EXPONENT = 700.0


def text_metrics(loss_nats: float, characters_per_token: float) -> dict[str, float]:
    """A language model's loss per token in the units that people compare.

    `bits_per_character` counts the Unicode characters of the text as it is written, whatever the
    tokens are. Where tokens can be unknown it leaves out what it would cost to spell them.
    """
    bits = loss_nats / math.log(2)
    return {
        "loss_nats": loss_nats,
        "perplexity": perplexity(loss_nats),
        "bits_per_token": bits,
        "bits_per_character": bits / characters_per_token,
    }


def perplexity(loss_nats: float) -> float:
    return math.exp(min(loss_nats, _LARGEST_EXPONENT))
