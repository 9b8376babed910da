"""Held-out figures of classifiers, as pure functions of scores and truth."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def classification_metrics(logits_bc: FloatArray, targets_b: IntArray) -> dict[str, float]:
    """Accuracy, macro F1 (over the labels that occur in truth or prediction) and mean loss."""
    highest_b = logits_bc.max(axis=1)
    log_total_b = highest_b + np.log(np.exp(logits_bc - highest_b[:, None]).sum(axis=1))
    loss_b = log_total_b - logits_bc[np.arange(len(targets_b)), targets_b]
    predicted_b = logits_bc.argmax(axis=1)
    scores = []
    for label in np.union1d(predicted_b, targets_b):
        hits = np.sum((predicted_b == label) & (targets_b == label))
        total = np.sum(predicted_b == label) + np.sum(targets_b == label)
        scores.append(2 * hits / total)
    return {
        "loss": float(loss_b.mean()),
        "accuracy": float((predicted_b == targets_b).mean()),
        "macro_f1": float(np.mean(scores)),
    }
