"""Fills in what a configuration leaves to the data, and refuses data that is too small for it.

Works from a data set's profile alone (no file is read, no torch imported), so a server can answer
at once and store a configuration that says all a trainer needs.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from rnn.classification.resolve import (
    classification_parameters,
    classification_rows,
    resolve_classification,
)
from rnn.config import ClassificationConfig, ForecastingConfig, GenerationConfig, TaskConfig
from rnn.errors import ConfigError
from rnn.forecasting.resolve import resolve_forecasting
from rnn.forecasting.sizes import forecasting_parameters
from rnn.generation.resolve import (
    generation_parameters,
    generation_tokens,
    resolve_generation,
)
from rnn.presets import DeviceType, with_preset
from rnn.sizes import tokens_of_words, vocabulary_limit


def resolve(
    config: TaskConfig, profile: Mapping[str, Any], device_type: DeviceType = "cpu"
) -> TaskConfig:
    """The configuration with its preset's choices and every `None` that depends on the data filled
    in.

    A batch size that the caller did not choose is lowered to what the data can fill; resolving a
    resolved configuration changes nothing.

    Raises:
        DataTooSmallError: the data cannot fill a batch, a window or a held-out part; the message
            names what was asked and what is there.
        ConfigError: the profile does not hold what this task needs, or a choice contradicts the
            preset.
    """
    config = with_preset(config, profile, device_type)
    match config:
        case ForecastingConfig():
            return resolve_forecasting(config, _part(profile, "series", config.task))
        case ClassificationConfig():
            return resolve_classification(config, _part(profile, "labels", config.task))
        case GenerationConfig():
            return resolve_generation(config, _part(profile, "text", config.task))


def parameter_count(config: TaskConfig, profile: Mapping[str, Any]) -> int:
    """Weights of the network that a resolved configuration describes, without building it.

    Exact for forecasting and generation. For classification the vocabulary is only known once the
    texts are read, so its upper limit is taken.
    """
    match config:
        case ForecastingConfig():
            return forecasting_parameters(config)
        case ClassificationConfig():
            return classification_parameters(config, len(profile["labels"]["counts"]))
        case GenerationConfig():
            return generation_parameters(config)


class Workload(NamedTuple):
    """What a training would do, as far as that is known before the data are read.

    Attributes:
        steps: optimizer steps at most; of texts in words or pieces of words, by their usual length.
        multiplications: in one of them, in proportion: timesteps of a batch times weights, without
            the vectors that a classifier looks up. Its texts are known by their words between
            white space alone: other tokens are counted by their usual number in these, too few
            where a script has no spaces.
    """

    steps: int
    multiplications: int


def workload(config: TaskConfig, profile: Mapping[str, Any]) -> Workload:
    """Of a resolved configuration."""
    training, parameters = config.training, parameter_count(config, profile)
    match config:
        case ForecastingConfig():
            per_epoch = config.training.windows_per_epoch or training.batch_size
            timesteps = (config.data.context_length or 0) + (config.data.horizon or 0)
        case ClassificationConfig():
            per_epoch = classification_rows(config, profile["labels"])
            usual = tokens_of_words(profile["labels"]["median_tokens"], config.data.tokenizer)
            timesteps = min(config.data.max_tokens, usual)
            parameters -= vocabulary_limit(config.data) * config.architecture.embedding_size
        case GenerationConfig():
            timesteps = config.training.bptt_length
            per_epoch = -(-generation_tokens(config, profile["text"]) // timesteps)
    steps = (training.max_epochs or 1) * -(-per_epoch // training.batch_size)
    return Workload(
        min(steps, training.max_steps or steps),
        training.batch_size * max(1, timesteps) * parameters,
    )


def _part(profile: Mapping[str, Any], name: str, task: str) -> Mapping[str, Any]:
    part = profile.get(name)
    if part is None:
        raise ConfigError(f"{task} needs {name}, and the data set holds none")
    assert isinstance(part, Mapping)
    return part
