"""Fills in what a classification configuration leaves to the data. Needs no torch."""

from collections.abc import Mapping
from typing import Any

from rnn.config import ClassificationConfig
from rnn.errors import DataTooSmallError
from rnn.sizes import (
    convolution_parameters,
    fitting_batch_size,
    stack_parameters,
    training_length,
    vocabulary_limit,
)


def resolve_classification(
    config: ClassificationConfig, labels: Mapping[str, Any]
) -> ClassificationConfig:
    counts: Mapping[str, int] = labels["counts"]
    if len(counts) < 2:
        raise DataTooSmallError(
            f"text-classification needs at least 2 labels; the data set has {len(counts)}"
        )
    training_rows = classification_rows(config, labels)
    if training_rows < 2:
        raise DataTooSmallError(
            f"text-classification needs at least 2 training texts beside the held-out ones; "
            f"{max(0, training_rows)} of {sum(counts.values())} are left"
        )
    batch_size = fitting_batch_size(config.training, training_rows, "training texts")
    steps_per_epoch = -(-training_rows // batch_size)
    # Each label holds out its own share, rounded, and at least one text.
    fewest_steps = -(-max(1, training_rows - len(counts) - 1) // batch_size)
    training = config.training.model_copy(
        update={
            "batch_size": batch_size,
            **training_length(
                config.training, steps_per_epoch, fewest_steps, fewest_epochs=8, steps=300
            ),
        }
    )
    return config.model_copy(update={"training": training})


def classification_rows(config: ClassificationConfig, labels: Mapping[str, Any]) -> int:
    """Texts to learn from, but for what rounding each label's held-out share changes."""
    splits: Mapping[str, int] = labels.get("splits") or {"train": sum(labels["counts"].values())}
    rows = splits.get("train", 0)
    if splits.get("validation"):
        return rows
    return rows - max(1, int(rows * config.data.validation_fraction))


def classification_parameters(config: ClassificationConfig, labels: int) -> int:
    """Weights of the network; the vocabulary is only known once the texts are read, so its upper
    limit is taken. Exact for bytes."""
    architecture = config.architecture
    size = architecture.embedding_size
    total = vocabulary_limit(config.data) * size
    if architecture.convolution is not None:
        total += convolution_parameters(architecture.convolution, size)
        size = architecture.convolution.channels
    total += stack_parameters(architecture, size, bidirectional=architecture.bidirectional)
    width = architecture.hidden_size * (2 if architecture.bidirectional else 1)
    pooled = 3 * width if architecture.pooling == "concatenated" else width
    if architecture.pooling == "attention":
        total += width * (width + 2)
    return total + labels * (pooled + 1)
