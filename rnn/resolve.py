"""Fills in what a configuration leaves to the data, and refuses data that is too small for it.

Works from a data set's profile alone (no file is read, no torch imported), so a server can answer
at once and store a configuration that says all a trainer needs.
"""

from collections.abc import Mapping
from typing import Any

from rnn.config import (
    BYTE_VOCABULARY_SIZE,
    GATES_PER_CELL,
    MINIMAL_CELLS,
    MOST_EPOCHS,
    QUANTILE_LEVELS,
    ArchitectureConfig,
    ClassificationConfig,
    ForecastingConfig,
    GenerationConfig,
    TaskConfig,
    TrainingConfig,
)
from rnn.data.windows import INPUT_FEATURES, WindowShape
from rnn.errors import ConfigError, DataTooSmallError

LONGEST_DEFAULT_HORIZON = 48
DEFAULT_HORIZON_WITHOUT_SEASON = 12
SHORTEST_DEFAULT_CONTEXT = 16
LONGEST_DEFAULT_CONTEXT = 384
SEASONS_IN_DEFAULT_CONTEXT = 7  # a week of days: the second season of most hourly data
DEFAULT_WINDOWS_PER_EPOCH = 16_384
SEGMENTS_PER_DEFAULT_LANE = 8  # fewer, and most segments of a text start from an empty state
MOST_DEFAULT_EPOCHS = 100


def resolve(config: TaskConfig, profile: Mapping[str, Any]) -> TaskConfig:
    """The configuration with every `None` that depends on the data filled in.

    A batch size that the caller did not choose is lowered to what the data can fill; resolving a
    resolved configuration changes nothing.

    Raises:
        DataTooSmallError: the data cannot fill a batch, a window or a held-out part; the message
            names what was asked and what is there.
        ConfigError: the profile does not hold what this task needs.
    """
    match config:
        case ForecastingConfig():
            return _resolve_forecasting(config, _part(profile, "series", config.task))
        case ClassificationConfig():
            return _resolve_classification(config, _part(profile, "labels", config.task))
        case GenerationConfig():
            return _resolve_generation(config, _part(profile, "text", config.task))


def parameter_count(config: TaskConfig, profile: Mapping[str, Any]) -> int:
    """Weights of the network that a resolved configuration describes, without building it.

    Exact for forecasting and generation. For classification the vocabulary is only known once the
    texts are read, so its upper limit is taken.
    """
    architecture = config.architecture
    match config:
        case ForecastingConfig():
            shape = WindowShape.of(config.data)
            width = architecture.hidden_size
            outputs = 1 + len(QUANTILE_LEVELS)
            head = (
                2 * (width * width + width)
                + (shape.future_features * width + width)
                + shape.horizon * width
                + (width * outputs + outputs)
            )
            return _stack_parameters(architecture, INPUT_FEATURES) + head
        case ClassificationConfig():
            embedding = config.data.vocabulary_size * config.architecture.embedding_size
            bidirectional = config.architecture.bidirectional
            stack = _stack_parameters(
                architecture, config.architecture.embedding_size, bidirectional=bidirectional
            )
            pooled = 3 * architecture.hidden_size * (2 if bidirectional else 1)
            return embedding + stack + len(profile["labels"]["counts"]) * (pooled + 1)
        case GenerationConfig():
            vocabulary, size = BYTE_VOCABULARY_SIZE, config.architecture.embedding_size
            head = vocabulary * (architecture.hidden_size + 1)
            return vocabulary * size + _stack_parameters(architecture, size) + head


def _stack_parameters(
    config: ArchitectureConfig, input_size: int, *, bidirectional: bool = False
) -> int:
    directions = 2 if bidirectional else 1
    hidden = config.hidden_size
    total = 0
    for _ in range(config.num_layers):
        gates = GATES_PER_CELL[config.cell] * hidden
        recurrent = 0 if config.cell in MINIMAL_CELLS else hidden + 1
        total += directions * gates * (input_size + 1 + recurrent)
        input_size = directions * hidden
        if config.layer_norm:
            total += 2 * input_size
    return total


def _part(profile: Mapping[str, Any], name: str, task: str) -> Mapping[str, Any]:
    part = profile.get(name)
    if part is None:
        raise ConfigError(f"{task} needs {name}, and the data set holds none")
    assert isinstance(part, Mapping)
    return part


def _resolve_forecasting(config: ForecastingConfig, series: Mapping[str, Any]) -> ForecastingConfig:
    data, shortest, longest = config.data, int(series["min_length"]), int(series["max_length"])
    season = data.season_length or series.get("season_length") or 1
    horizon = data.horizon or _default_horizon(season, int(series["median_length"]))
    if data.horizon and data.context_length and data.context_length + horizon > shortest:
        raise DataTooSmallError(
            f"context_length {data.context_length} + horizon {horizon} = "
            f"{data.context_length + horizon} timesteps are more than the shortest series has: "
            f"{shortest}"
        )
    # The last horizon of a series is held out, another is learned from, one value must be read.
    needed = 2 * horizon + 1
    available = shortest if data.horizon else longest
    if needed > available:
        raise DataTooSmallError(
            f"horizon {horizon} needs series of at least {needed} timesteps; the "
            f"{'shortest' if data.horizon else 'longest'} has {available}"
        )
    context = data.context_length or _default_context(season, horizon, longest)
    if context + horizon > longest:
        raise DataTooSmallError(
            f"context_length {context} + horizon {horizon} = {context + horizon} timesteps are "
            f"more than the longest series has: {longest}"
        )
    windows = _most_windows(series, horizon)
    batch_size = _fitting_batch_size(config.training, windows, "training windows")
    per_epoch = config.training.windows_per_epoch or min(windows, DEFAULT_WINDOWS_PER_EPOCH)
    steps_per_epoch = -(-per_epoch // batch_size)
    training = config.training.model_copy(
        update={
            "batch_size": batch_size,
            "windows_per_epoch": per_epoch,
            **_length(
                config.training, steps_per_epoch, steps_per_epoch, fewest_epochs=10, steps=500
            ),
        }
    )
    return config.model_copy(
        update={
            "training": training,
            "data": data.model_copy(
                update={
                    "horizon": horizon,
                    "context_length": context,
                    "season_length": season,
                }
            ),
        }
    )


def _most_windows(series: Mapping[str, Any], horizon: int) -> int:
    """Training windows that series of this profile hold at most: the number is used to refuse, and
    drawing more windows than there are only repeats some.

    A series of n timesteps has at most max(0, n - 2 * horizon) windows. That is convex in n, so
    the line from the shortest to the longest series bounds it from above: exactly where all have
    windows, and where there are two lengths only.
    """
    shortest, longest = int(series["min_length"]), int(series["max_length"])
    in_shortest, in_longest = max(0, shortest - 2 * horizon), longest - 2 * horizon
    beyond_shortest = int(series["points"]) - shortest * int(series["series"])
    rise = (in_longest - in_shortest) * beyond_shortest // max(1, longest - shortest)
    return in_shortest * int(series["series"]) + rise


def _default_horizon(season: int, median_length: int) -> int:
    wanted = min(2 * season, LONGEST_DEFAULT_HORIZON)
    if season == 1:
        wanted = DEFAULT_HORIZON_WITHOUT_SEASON
    return max(1, min(wanted, (median_length - 1) // 3))


def _default_context(season: int, horizon: int, longest: int) -> int:
    wanted = max(SEASONS_IN_DEFAULT_CONTEXT * season, 2 * horizon, SHORTEST_DEFAULT_CONTEXT)
    return max(1, min(wanted, LONGEST_DEFAULT_CONTEXT, longest - 2 * horizon))


def _resolve_classification(
    config: ClassificationConfig, labels: Mapping[str, Any]
) -> ClassificationConfig:
    counts: Mapping[str, int] = labels["counts"]
    if len(counts) < 2:
        raise DataTooSmallError(
            f"text-classification needs at least 2 labels; the data set has {len(counts)}"
        )
    total = sum(counts.values())
    splits: Mapping[str, int] = labels.get("splits") or {"train": total}
    training_rows = splits.get("train", 0)
    if not splits.get("validation"):
        held_out = max(1, int(training_rows * config.data.validation_fraction))
        training_rows -= held_out
    if training_rows < 2:
        raise DataTooSmallError(
            f"text-classification needs at least 2 training texts beside the held-out ones; "
            f"{max(0, training_rows)} of {total} are left"
        )
    batch_size = _fitting_batch_size(config.training, training_rows, "training texts")
    steps_per_epoch = -(-training_rows // batch_size)
    # Each label holds out its own share, rounded, and at least one text.
    fewest_steps = -(-max(1, training_rows - len(counts) - 1) // batch_size)
    training = config.training.model_copy(
        update={
            "batch_size": batch_size,
            **_length(config.training, steps_per_epoch, fewest_steps, fewest_epochs=8, steps=300),
        }
    )
    return config.model_copy(update={"training": training})


def _resolve_generation(config: GenerationConfig, text: Mapping[str, Any]) -> GenerationConfig:
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
    # The moving cut of `rnn.data.text.TextLanes` and what fills no whole lane are left out.
    fewest_steps = max(1, steps_per_epoch - 2)
    return config.model_copy(
        update={
            "training": training.model_copy(
                update={
                    "bptt_length": bptt_length,
                    "batch_size": batch_size,
                    **_length(training, steps_per_epoch, fewest_steps, fewest_epochs=8, steps=400),
                }
            )
        }
    )


def _length(
    training: TrainingConfig,
    steps_per_epoch: int,
    fewest_steps_per_epoch: int,
    *,
    fewest_epochs: int,
    steps: int,
) -> dict[str, int | None]:
    """Epochs that make up enough steps, the chosen ones too, unless chosen themselves; patience in
    proportion, unless chosen."""
    if training.max_epochs is not None:
        return {}
    epochs = min(MOST_DEFAULT_EPOCHS, max(fewest_epochs, -(-steps // steps_per_epoch)))
    if training.max_steps is not None:
        wanted = max(epochs, -(-training.max_steps // fewest_steps_per_epoch))
        epochs = min(MOST_EPOCHS, wanted)
    if "early_stopping_patience" in training.model_fields_set:
        return {"max_epochs": epochs}
    patience = max(training.early_stopping_patience or 0, epochs // 4)
    return {"max_epochs": epochs, "early_stopping_patience": patience}


def _fitting_batch_size(training: TrainingConfig, available: int, what: str) -> int:
    if training.batch_size <= available:
        return training.batch_size
    if "batch_size" in training.model_fields_set:
        raise DataTooSmallError(
            f"batch_size {training.batch_size} is more than the data's {available} {what}"
        )
    return available
