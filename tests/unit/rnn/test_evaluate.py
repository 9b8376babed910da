import math

import pytest
import torch

from rnn.classification.metrics import classification_metrics
from rnn.generation.metrics import text_metrics


def test_a_uniform_guess_over_bytes_is_eight_bits() -> None:
    metrics = text_metrics(math.log(256), characters_per_token=1.0)
    assert metrics["bits_per_token"] == pytest.approx(8)
    assert metrics["perplexity"] == pytest.approx(256)


def test_classification_figures_by_hand() -> None:
    logits = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]]).log()
    metrics = classification_metrics(logits, torch.tensor([0, 1, 1, 0]))
    assert metrics["accuracy"] == 0.75
    assert metrics["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert metrics["loss"] == pytest.approx(-torch.tensor([0.9, 0.4, 0.8, 0.7]).log().mean().item())


def test_macro_f1_leaves_out_labels_that_nobody_saw() -> None:
    logits = torch.tensor([[5.0, 0, 0], [0, 5.0, 0]])
    assert classification_metrics(logits, torch.tensor([0, 1]))["macro_f1"] == 1
