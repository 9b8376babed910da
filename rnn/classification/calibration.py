"""Temperature scaling: confidence as high as the share of right answers (Guo et al. 2017)."""

import math

from torch import Tensor

LOWEST, HIGHEST = 0.05, 20.0
_HALVINGS = 40


def fit_temperature(logits_bc: Tensor, targets_b: Tensor) -> float:
    """The temperature whose softmax makes held-out labels most probable, from 0.05 to 20.

    One text's weight is spread over all labels, so that a few held-out texts without a mistake do
    not ask for certainty (Platt 1999 does the same to two labels).

    Args:
        logits_bc: scores [B, labels] of held-out texts.
        targets_b: their labels.
    """
    logits_bc = logits_bc.double()
    texts = len(targets_b)
    own_b = logits_bc.gather(1, targets_b[:, None])[:, 0]
    wanted = (texts * own_b.mean() + logits_bc.mean()) / (texts + 1)
    # The loss is convex in the inverse temperature: its slope changes sign once.
    low, high = LOWEST, HIGHEST
    for _ in range(_HALVINGS):
        temperature = math.sqrt(low * high)
        probabilities_bc = (logits_bc / temperature).softmax(dim=1)
        expected = (probabilities_bc * logits_bc).sum(dim=1).mean()
        low, high = (temperature, high) if expected > wanted else (low, temperature)
    return math.sqrt(low * high)
