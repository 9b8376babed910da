"""Fills in what a generation configuration leaves to the data. Needs no torch."""

from collections.abc import Mapping
from typing import Any

from rnn.config import BYTE_VOCABULARY_SIZE, GenerationConfig
from rnn.errors import DataTooSmallError
from rnn.sizes import stack_parameters, training_length

SEGMENTS_PER_DEFAULT_LANE = 8  # fewer, and most segments of a text start from an empty state


def resolve_generation(config: GenerationConfig, text: Mapping[str, Any]) -> GenerationConfig:
    total = int(text["bytes"])
    held_out = int(total * config.data.validation_fraction)
    training_bytes = total - held_out
    if held_out < 2 or training_bytes < 2:
        raise DataTooSmallError(
            f"text-generation needs at least 2 bytes to learn from and 2 held out; the text has "
            f"{training_bytes} and {held_out}"
        )
    training = config.training
    bptt_length, batch_size = training.bptt_length, training.batch_size
    if bptt_length + 1 > training_bytes:
        if "bptt_length" in training.model_fields_set:
            raise DataTooSmallError(
                f"bptt_length {bptt_length} needs {bptt_length + 1} bytes of training text; "
                f"there are {training_bytes}"
            )
        bptt_length = training_bytes - 1
    # Each sequence of a batch reads its own part of the text: two bytes at least.
    if 2 * batch_size > training_bytes and "batch_size" in training.model_fields_set:
        raise DataTooSmallError(
            f"batch_size {batch_size} needs {2 * batch_size} bytes of training text; there are "
            f"{training_bytes}"
        )
    if "batch_size" not in training.model_fields_set:
        lane_bytes = SEGMENTS_PER_DEFAULT_LANE * bptt_length + 1
        batch_size = max(1, min(batch_size, training_bytes // lane_bytes))
    steps_per_epoch = -(-training_bytes // (batch_size * bptt_length))
    # The moving cut of `rnn.generation.lanes.TextLanes` and what fills no whole lane are left out.
    fewest_steps = max(1, steps_per_epoch - 2)
    return config.model_copy(
        update={
            "training": training.model_copy(
                update={
                    "bptt_length": bptt_length,
                    "batch_size": batch_size,
                    **training_length(
                        training, steps_per_epoch, fewest_steps, fewest_epochs=8, steps=400
                    ),
                }
            )
        }
    )


def generation_parameters(config: GenerationConfig) -> int:
    """Weights of the network, exactly."""
    architecture = config.architecture
    vocabulary, size = BYTE_VOCABULARY_SIZE, architecture.embedding_size
    head = vocabulary * (architecture.hidden_size + 1)
    return vocabulary * size + stack_parameters(architecture, size) + head
