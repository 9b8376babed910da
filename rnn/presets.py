"""What a preset stands for: the choices of a job that its caller left open.

`base` on a CPU is the defaults of `rnn.config` themselves, except for texts of words, whose many
tokens want another network than bytes do. A GPU gets the next larger preset. Needs no torch.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from rnn.config import Config, GenerationConfig, TaskConfig, TaskName
from rnn.config.base import PresetName
from rnn.errors import ConfigError

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
# Of words and pieces of words, on top of the above.
_WORDS: dict[SizeName, Choices] = {
    "small": {"architecture": {"hidden_size": 200, "embedding_size": 200}},
    "base": {"architecture": {"hidden_size": 400, "embedding_size": 400}},
    "large": {"architecture": {"hidden_size": 650, "embedding_size": 650}},
    "largest": {"architecture": {"hidden_size": 1150, "embedding_size": 400, "num_layers": 3}},
}
_WORDS_ALL: Choices = {
    "architecture": {
        "tied": True,
        "dropout": 0.3,
        "input_dropout": 0.4,
        "output_dropout": 0.4,
        "embedding_dropout": 0.1,
    },
}

def with_preset(config: TaskConfig, device_type: DeviceType) -> TaskConfig:
    """The configuration with its preset's choices where its caller made none. They do not count as
    the caller's: what the data cannot fill is still lowered.

    Raises:
        ConfigError: a choice of the caller's does not fit the preset.
    """
    size: SizeName = _ON_GPU[config.preset] if device_type == "cuda" else config.preset
    layers = [_PRESETS[config.task][size]]
    if isinstance(config, GenerationConfig) and config.data.tokenizer in ("word", "bpe"):
        layers += [_WORDS[size], _WORDS_ALL]
        if config.architecture.softmax == "adaptive":
            layers.append({"architecture": {"tied": False}})
    update = {}
    for name in ("architecture", "training"):
        values = {key: value for layer in layers for key, value in layer.get(name, {}).items()}
        update[name] = _filled(getattr(config, name), values, name)
    return config.model_copy(update=update)


def _filled(part: Config, values: Mapping[str, Any], name: str) -> Config:
    chosen = {field: getattr(part, field) for field in part.model_fields_set}
    try:
        filled = type(part)(**{**values, **chosen})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"with this preset {reason}", (name,)) from error
    return type(part).model_construct(part.model_fields_set, **dict(filled))
