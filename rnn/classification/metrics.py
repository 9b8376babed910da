"""Held-out figures of classifiers, as pure functions of scores and truth."""

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_f1_score,
)

CALIBRATION_BINS = 15


def classification_metrics(
    logits_bc: Tensor, targets_b: Tensor, temperature: float = 1.0
) -> dict[str, float]:
    """Mean loss, accuracy, macro F1 and calibration error of the scores over the temperature.

    Macro F1 is over the labels that occur in truth or prediction. The calibration error is the mean
    distance of confidence and accuracy over 15 bins of confidence (Guo et al. 2017).
    """
    labels = logits_bc.shape[1]
    scaled_bc = logits_bc.double() / temperature
    loss = torch.nn.functional.cross_entropy(scaled_bc, targets_b)
    probabilities_bc = scaled_bc.softmax(dim=1)
    error = multiclass_calibration_error(
        probabilities_bc, targets_b, labels, n_bins=CALIBRATION_BINS
    )
    return {
        "loss": float(loss),
        "accuracy": float(multiclass_accuracy(scaled_bc, targets_b, labels, average="micro")),
        "macro_f1": float(multiclass_f1_score(scaled_bc, targets_b, labels, average="macro")),
        "calibration_error": float(error),
    }
