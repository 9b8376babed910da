"""Held-out figures of language models."""

import math


def text_metrics(loss_nats: float) -> dict[str, float]:
    """A language model's loss per token in the units that people compare."""
    return {
        "loss_nats": loss_nats,
        "perplexity": math.exp(min(loss_nats, 700.0)),
        "bits_per_token": loss_nats / math.log(2),
    }
