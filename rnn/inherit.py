"""What a training that starts from an existing network takes over of its configuration.

Needs no torch, so a server can refuse a choice that contradicts the weights before anything runs.
"""

from typing import Any, TypeVar

from pydantic import ValidationError

from rnn.config import (
    ArchitectureConfig,
    ClassificationConfig,
    Config,
    GenerationConfig,
    TaskConfig,
    TaskName,
)
from rnn.errors import ConfigError
from rnn.sizes import vocabulary_limit

# Tasks whose networks a training can start from.
BASE_TASKS: dict[TaskName, tuple[TaskName, ...]] = {
    "time-series-forecasting": ("time-series-forecasting",),
    "text-classification": ("text-classification", "text-generation"),
    "text-generation": ("text-generation",),
}

# They act while training only: each training may choose them anew.
_RECURRENT_DROPOUTS = frozenset({"recurrent_dropout", "weight_dropout", "zoneout"})
_DROPOUTS = frozenset(
    {"dropout", "embedding_dropout", "input_dropout", "output_dropout", "locked_dropout"}
)
# What of the data the weights are for; columns and held-out parts may be others.
_READ: dict[TaskName, tuple[str, ...]] = {
    "time-series-forecasting": (
        "horizon",
        "context_length",
        "season_length",
        "past_covariates",
        "future_covariates",
        "static_covariates",
        "static_columns",
        "frequency",
        "calendar",
        "age",
        "lags",
        "scaling",
    ),
    "text-classification": ("tokenizer", "vocabulary_size", "min_frequency"),
    "text-generation": ("tokenizer", "vocabulary_size"),
}

Part = TypeVar("Part", bound=Config)


def inherit(config: TaskConfig, base: TaskConfig) -> TaskConfig:
    """The configuration with all that the weights of a base depend on taken from it.

    Of the same task: the architecture, and what is read of the data. A classifier that starts from
    a language model gets its tokenizer, its embedding and its recurrent layers, which read forwards
    only. Dropouts that were chosen stay; the others are the base's, but for those around a
    classifier's layers.

    Args:
        base: resolved, of one of `BASE_TASKS`.

    Raises:
        ConfigError: a choice contradicts the base, with the place of the choice.
    """
    architecture = _values(base.architecture)
    data = {name: getattr(base.data, name) for name in _READ[base.task]}
    if isinstance(config, ClassificationConfig) and isinstance(base, GenerationConfig):
        shared = {*ArchitectureConfig.model_fields, "embedding_size"} - _DROPOUTS
        architecture = {name: architecture[name] for name in shared}
        architecture |= {"bidirectional": False, "convolution": None}
        data["vocabulary_size"] = vocabulary_limit(base.data)
        data["min_frequency"] = 1
    elif config.task != base.task:
        raise ConfigError(f"{config.task} cannot start from {base.task}", ("base_model",))
    update = {
        "architecture": _merged(config.architecture, architecture, "architecture"),
        "data": _merged(config.data, data, "data"),
    }
    return config.model_copy(update=update)


def _values(part: Config) -> dict[str, Any]:
    return {name: getattr(part, name) for name in type(part).model_fields}


def _merged(own: Part, taken: dict[str, Any], place: str) -> Part:
    """The base's values, the dropouts that were chosen, and the rest of a part's own."""
    free = {}
    for name in own.model_fields_set & taken.keys():
        value = getattr(own, name)
        if name in _DROPOUTS | _RECURRENT_DROPOUTS:
            free[name] = value
        elif value is not None and value != taken[name]:
            raise ConfigError(
                f"{place}.{name} is {_shown(value)}, and the base model has {_shown(taken[name])}",
                (place, name),
            )
    merged = own.model_copy(update={**taken, **free})
    try:
        type(own).model_validate(_values(merged))
    except ValidationError as error:
        raise ConfigError(f"{place}: {error.errors()[0]['msg']}", (place,)) from error
    return merged


def _shown(value: object) -> str:
    text = value.model_dump_json() if isinstance(value, Config) else repr(value)
    return text if len(text) <= 100 else text[:99] + "…"
