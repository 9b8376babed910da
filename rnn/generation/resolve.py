"""Fills in what a generation configuration leaves to the data. Needs no torch."""

from collections.abc import Mapping
from typing import Any

from rnn.config import GenerationConfig
from rnn.errors import ConfigError, DataTooSmallError
from rnn.generation.sizes import generation_parameters, part_sizes
from rnn.sizes import USUAL_BYTES, training_length

__all__ = ["generation_parameters", "resolve_generation"]

SEGMENTS_PER_DEFAULT_LANE = 8  # fewer, and most segments of a text start from an empty state

# Batches, lengths and epochs are chosen by what a token usually stands for (`USUAL_BYTES`), and
# enough steps are promised by what it hardly ever passes.
_MOST_BYTES = {"byte": 1, "character": 4, "bpe": 16, "word": 16}


def resolve_generation(config: GenerationConfig, text: Mapping[str, Any]) -> GenerationConfig:
    training_bytes, held_out, test_bytes = _parts(config, text)
    if not test_bytes and set(config.data.test_evaluations) - {"static"}:
        raise ConfigError(
            "test_evaluations: there is no test part; set test_fraction, or split_column",
            ("data", "test_evaluations"),
        )
    if held_out < 2 or training_bytes < 2:
        raise DataTooSmallError(
            f"text-generation needs at least 2 bytes to learn from and 2 held out; the text has "
            f"{training_bytes} and {held_out}"
        )
    training = config.training
    tokens = generation_tokens(config, text)
    fewest_tokens = max(2, training_bytes // _MOST_BYTES[config.data.tokenizer])
    bptt_length, batch_size = training.bptt_length, training.batch_size
    if bptt_length + 1 > tokens:
        if "bptt_length" in training.model_fields_set and bptt_length + 1 > training_bytes:
            raise DataTooSmallError(
                f"bptt_length {bptt_length} needs {bptt_length + 1} bytes of training text; "
                f"there are {training_bytes}"
            )
        bptt_length = bptt_length if "bptt_length" in training.model_fields_set else tokens - 1
    # Each sequence of a batch reads its own part of the text: two tokens at least.
    if 2 * batch_size > training_bytes and "batch_size" in training.model_fields_set:
        raise DataTooSmallError(
            f"batch_size {batch_size} needs {2 * batch_size} bytes of training text; there are "
            f"{training_bytes}"
        )
    if "batch_size" not in training.model_fields_set:
        lane_tokens = SEGMENTS_PER_DEFAULT_LANE * bptt_length + 1
        batch_size = max(1, min(batch_size, tokens // lane_tokens))
    steps_per_epoch = -(-tokens // (batch_size * bptt_length))
    # The moving cut of `rnn.generation.lanes.TextLanes` and what fills no whole lane are left out.
    fewest_steps = max(1, -(-fewest_tokens // (batch_size * bptt_length)) - 2)
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


def generation_tokens(config: GenerationConfig, text: Mapping[str, Any]) -> int:
    """Tokens to learn from, by the bytes that one usually stands for; of bytes, exactly."""
    return max(2, _parts(config, text)[0] // USUAL_BYTES[config.data.tokenizer])


def _parts(config: GenerationConfig, text: Mapping[str, Any]) -> tuple[int, int, int]:
    """Bytes for training, validation and test."""
    splits = text.get("splits") if config.data.split_column is not None else None
    if splits is None:
        return part_sizes(int(text["bytes"]), config.data)
    training, validation, test = (splits.get(name, 0) for name in ("train", "validation", "test"))
    if not validation:
        validation = int(training * config.data.validation_fraction)
        training -= validation
    return training, validation, test
