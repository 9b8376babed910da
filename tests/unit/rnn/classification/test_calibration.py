"""Temperature scaling, and the calibration error that it is judged by."""

import numpy as np
import pytest
import torch
from torch import Tensor

from rnn.classification.calibration import HIGHEST, LOWEST, fit_temperature
from rnn.classification.metrics import classification_metrics


def drawn(texts: int, labels: int, sharpness: float) -> tuple[Tensor, Tensor]:
    """Scores whose softmax is right at a temperature of `sharpness`, with labels drawn from it."""
    random = torch.Generator().manual_seed(0)
    true_bc = torch.randn(texts, labels, generator=random, dtype=torch.float64) * 2
    targets_b = torch.multinomial(true_bc.softmax(1), 1, generator=random)[:, 0]
    return true_bc * sharpness, targets_b


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 5.0])
@pytest.mark.parametrize("labels", [2, 7])
def test_the_temperature_that_the_labels_were_drawn_with_is_found(
    labels: int, sharpness: float
) -> None:
    assert fit_temperature(*drawn(20_000, labels, sharpness)) == pytest.approx(sharpness, rel=0.05)


def test_it_lowers_the_loss_and_the_calibration_error_and_moves_no_label() -> None:
    logits_bc, targets_b = drawn(5_000, 3, 4.0)
    before = classification_metrics(logits_bc, targets_b)
    after = classification_metrics(logits_bc, targets_b, fit_temperature(logits_bc, targets_b))
    assert after["loss"] < before["loss"]
    assert after["calibration_error"] < 0.02 < 0.1 < before["calibration_error"]
    assert (after["accuracy"], after["macro_f1"]) == (before["accuracy"], before["macro_f1"])


def test_a_few_texts_without_a_mistake_ask_for_no_certainty() -> None:
    logits_bc = torch.tensor([[2.0, 0.0], [0.0, 2.0], [3.0, 1.0], [0.0, 2.0]])
    temperature = fit_temperature(logits_bc, torch.tensor([0, 1, 0, 1]))
    # Four right, and half of a fifth text wrong: the share of right ones is 0.9.
    assert torch.sigmoid(torch.tensor(2 / temperature)).item() == pytest.approx(0.9, abs=1e-6)


def test_it_stays_in_its_range() -> None:
    wrong = torch.tensor([[9.0, 0.0]] * 50)
    assert fit_temperature(wrong, torch.ones(50, dtype=torch.long)) == pytest.approx(HIGHEST)
    faint = torch.tensor([[1e-6, 0.0]] * 50)
    assert fit_temperature(faint, torch.zeros(50, dtype=torch.long)) == pytest.approx(LOWEST)


def test_the_calibration_error_is_the_mean_gap_of_confidence_and_accuracy() -> None:
    """Over 15 bins: two answers at 0.9 of which one is right, one right at 0.6."""
    probabilities_bc = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]], dtype=torch.float64)
    metrics = classification_metrics(probabilities_bc.log(), torch.tensor([0, 1, 1]))
    assert metrics["calibration_error"] == pytest.approx((2 * 0.4 + 1 * 0.4) / 3)


def test_macro_f1_leaves_out_labels_that_nobody_named() -> None:
    logits_bc = torch.eye(4)[[0, 0, 1, 1]]
    metrics = classification_metrics(logits_bc, torch.tensor([0, 1, 1, 1]))
    assert metrics["accuracy"] == 0.75
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert metrics["loss"] == pytest.approx(
        float(-np.log([np.e, 1, np.e, np.e] / np.float64(np.e + 3)).mean())
    )
