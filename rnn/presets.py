"""What a preset stands for: the choices of a job that its caller left open.

Each is a base for its task with what the data ask for on top: texts of words, long texts. A GPU
gets the next larger size. Needs no torch.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from rnn.config import (
    ClassificationConfig,
    ClassificationData,
    Config,
    ForecastingConfig,
    GenerationConfig,
    TaskConfig,
    TaskName,
)
from rnn.config.base import PresetName
from rnn.errors import ConfigError
from rnn.sizes import tokens_of_words

DeviceType = Literal["cpu", "cuda"]
SizeName = Literal["small", "base", "large", "largest"]
Choices = Mapping[str, Mapping[str, Any]]  # of the parts of a configuration

_ON_GPU: dict[PresetName, SizeName] = {"small": "base", "base": "large", "large": "largest"}

_PRESETS: dict[TaskName, dict[SizeName, Choices]] = {
    "time-series-forecasting": {
        "small": {"architecture": {"hidden_size": 32, "num_layers": 1}},
        "base": {},
        "large": {"architecture": {"hidden_size": 128}},
        "largest": {"architecture": {"hidden_size": 256, "dropout": 0.2}},
    },
    "text-classification": {
        "small": {"architecture": {"hidden_size": 64, "embedding_size": 64}},
        "base": {},
        "large": {"architecture": {"hidden_size": 256, "embedding_size": 200}},
        "largest": {"architecture": {"hidden_size": 512, "embedding_size": 300, "num_layers": 2}},
    },
    "text-generation": {
        "small": {"architecture": {"hidden_size": 128, "embedding_size": 64}},
        "base": {},
        "large": {"architecture": {"hidden_size": 512, "dropout": 0.2}},
        "largest": {"architecture": {"hidden_size": 1024, "num_layers": 3, "dropout": 0.3}},
    },
}
_CLASSIFICATION: Choices = {
    "architecture": {"pooling": "attention", "input_dropout": 0.3},
    "training": {"averaging": "exponential", "evaluations_per_epoch": 2},
}
# Far ahead in long series: read and decoded in segments (Lin et al. 2023).
LONG_HORIZON, HORIZONS_IN_A_LONG_SERIES = 64, 20
_LONG_HORIZONS: dict[SizeName, Choices] = {
    "small": {"architecture": {"hidden_size": 64}},
    "base": {"architecture": {"hidden_size": 128}},
    "large": {"architecture": {"hidden_size": 256}},
    "largest": {"architecture": {"hidden_size": 512}},
}
_ALL_LONG_HORIZONS: Choices = {
    "architecture": {
        "cell": "gru",
        "num_layers": 1,
        "dropout": 0.0,
        "output_dropout": 0.5,
        "decoding": "segments",
        "linear": True,
        "distribution": "point",
    },
    "training": {
        "learning_rate": 1e-3,
        "batch_size": 256,
        "weight_decay": 0.0,
        "averaging": "exponential",
        "max_epochs": 40,
        "early_stopping_patience": 8,
    },
    "data": {"scaling": "last"},
}
# Neighbouring words are joined first, and half as many timesteps are left.
LONG_TEXT_TOKENS = 100
_LONG_TEXTS: Choices = {
    "architecture": {
        "cell": "mingru",
        "convolution": {"kernel_size": 3, "channels": 128, "pooling": 2},
    },
    "data": {"truncation": "both", "vocabulary_size": 30_000},
}
# Of words and pieces of words: their many vectors are most of the network.
_ALL_WORDS: Choices = {
    "architecture": {
        "tied": True,
        "dropout": 0.2,
        "input_dropout": 0.3,
        "output_dropout": 0.3,
        "embedding_dropout": 0.05,
    },
    "training": {"bptt_length": 35, "max_epochs": 12},
}
_MORE_DROPOUT = {
    "dropout": 0.3,
    "input_dropout": 0.4,
    "output_dropout": 0.4,
    "embedding_dropout": 0.1,
}
_WORDS: dict[SizeName, Choices] = {
    "small": {"architecture": {"hidden_size": 200, "embedding_size": 200}},
    "base": {"architecture": {"hidden_size": 320, "embedding_size": 320}},
    "large": {"architecture": {"hidden_size": 640, "embedding_size": 640, **_MORE_DROPOUT}},
    "largest": {
        "architecture": {
            "hidden_size": 1152,
            "embedding_size": 400,
            "num_layers": 3,
            **_MORE_DROPOUT,
        }
    },
}


def with_preset(
    config: TaskConfig, profile: Mapping[str, Any], device_type: DeviceType
) -> TaskConfig:
    """The configuration with its preset's choices where its caller made none. They do not count as
    the caller's: what the data cannot fill is still lowered.

    Raises:
        ConfigError: a choice of the caller's does not fit the preset.
    """
    size: SizeName = _ON_GPU[config.preset] if device_type == "cuda" else config.preset
    layers = [_PRESETS[config.task][size]]
    if isinstance(config, ForecastingConfig) and _is_far_ahead(config, profile):
        layers += [_LONG_HORIZONS[size], _ALL_LONG_HORIZONS]
    if isinstance(config, ClassificationConfig):
        layers.append(_CLASSIFICATION)
        if _median_tokens(profile) >= LONG_TEXT_TOKENS:
            layers.append(_LONG_TEXTS)
        layers.append({"data": {"max_tokens": _max_tokens(config.data)}})
    if isinstance(config, GenerationConfig) and config.data.tokenizer in ("word", "bpe"):
        layers += [_ALL_WORDS, _WORDS[size]]
        if config.architecture.softmax == "adaptive":
            layers.append({"architecture": {"tied": False}})
    update = {}
    for name in ("architecture", "training", "data"):
        values = {key: value for layer in layers for key, value in layer.get(name, {}).items()}
        update[name] = _filled(getattr(config, name), values, name)
    return config.model_copy(update=update)


def _is_far_ahead(config: ForecastingConfig, profile: Mapping[str, Any]) -> bool:
    horizon, series = config.data.horizon, profile.get("series") or {}
    long_enough = HORIZONS_IN_A_LONG_SERIES * (horizon or 0)
    return (horizon or 0) >= LONG_HORIZON and series.get("median_length", 0) >= long_enough


def _max_tokens(data: ClassificationData) -> int:
    """As much text as so many words are by default."""
    words: int = ClassificationData.model_fields["max_tokens"].default
    return tokens_of_words(words, data.tokenizer)


def _median_tokens(profile: Mapping[str, Any]) -> int:
    """Words between white space in the middle one of the texts: each has one token or more,
    whatever the tokenizer. A text without spaces counts as short, however long it is."""
    return int((profile.get("labels") or {}).get("median_tokens", 0))


# Options that not every cell has: who chooses one has the default cell in mind.
_OPTIONS_OF_CELLS = {"peephole", "mogrifier_rounds", "weight_dropout", "recurrent_dropout"}


def _filled(part: Config, values: Mapping[str, Any], name: str) -> Config:
    chosen = {field: getattr(part, field) for field in part.model_fields_set}
    if chosen.keys() & _OPTIONS_OF_CELLS:
        values = {key: value for key, value in values.items() if key != "cell"}
    try:
        filled = type(part)(**{**values, **chosen})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"with this preset {reason}", (name,)) from error
    return type(part).model_construct(part.model_fields_set, **dict(filled))
