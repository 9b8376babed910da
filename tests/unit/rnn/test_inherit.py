"""What a training that starts from an existing network takes over, and what it refuses."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from rnn.config import TaskConfig
from rnn.errors import ConfigError
from rnn.inherit import inherit

CONFIGS: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)
FORECASTING, CLASSIFICATION, GENERATION = (
    "time-series-forecasting",
    "text-classification",
    "text-generation",
)


def config(task: str, **parts: Any) -> TaskConfig:
    return CONFIGS.validate_python({"task": task, **parts})


LANGUAGE_MODEL = config(
    GENERATION,
    architecture={
        "cell": "gru",
        "hidden_size": 24,
        "num_layers": 3,
        "embedding_size": 12,
        "pre_norm": True,
        "tied": True,
        "dropout": 0.3,
        "weight_dropout": 0.4,
    },
    data={"tokenizer": "bpe", "vocabulary_size": 700},
)


def test_the_same_task_takes_over_what_the_weights_are_for() -> None:
    base = config(
        FORECASTING,
        architecture={"cell": "mingru", "hidden_size": 12, "dropout": 0.4},
        data={"horizon": 7, "context_length": 30, "target_column": "sales", "scaling": "last"},
        training={"learning_rate": 0.5},
    )
    found = inherit(config(FORECASTING, data={"target_column": "y", "conformal": True}), base)
    assert found.architecture == base.architecture
    assert found.data.model_dump() == {
        **base.data.model_dump(),
        "target_column": "y",
        "conformal": True,
    }
    assert found.training == config(FORECASTING).training


def test_dropouts_that_were_chosen_stay() -> None:
    base = config(GENERATION, architecture={"dropout": 0.5, "zoneout": 0.2, "hidden_size": 9})
    found = inherit(config(GENERATION, architecture={"dropout": 0.1}), base)
    architecture = found.architecture
    assert (architecture.dropout, architecture.zoneout, architecture.hidden_size) == (0.1, 0.2, 9)


def test_a_classifier_gets_a_language_models_layers_but_its_own_dropouts() -> None:
    found = inherit(config(CLASSIFICATION, architecture={"pooling": "mean"}), LANGUAGE_MODEL)
    own = config(CLASSIFICATION, architecture={"pooling": "mean"}).architecture.model_dump()
    assert found.architecture.model_dump() == {
        **own,
        "cell": "gru",
        "hidden_size": 24,
        "num_layers": 3,
        "embedding_size": 12,
        "pre_norm": True,
        "weight_dropout": 0.4,
        "bidirectional": False,
    }
    data = found.data.model_dump()
    assert (data["tokenizer"], data["vocabulary_size"], data["min_frequency"]) == ("bpe", 700, 1)


def test_a_classifier_reads_the_tokens_of_the_classifier_that_it_starts_from() -> None:
    base = config(CLASSIFICATION, data={"tokenizer": "character", "max_tokens": 99})
    found = inherit(config(CLASSIFICATION), base).data.model_dump()
    assert (found["tokenizer"], found["max_tokens"]) == ("character", 512)
    with pytest.raises(ConfigError, match="tokenizer is 'word', and the base model has 'charac"):
        inherit(config(CLASSIFICATION, data={"tokenizer": "word"}), base)


def test_what_was_neither_chosen_nor_taken_stays_as_it_was_filled_in() -> None:
    """By a preset, say, which leaves no mark of a choice."""
    own = config(CLASSIFICATION)
    filled = own.architecture.model_construct(set(), **{**dict(own.architecture), "dropout": 0.35})
    found = inherit(own.model_copy(update={"architecture": filled}), LANGUAGE_MODEL)
    assert found.architecture.dropout == 0.35
    assert "dropout" not in found.architecture.model_fields_set
    assert "hidden_size" in found.architecture.model_fields_set


def test_bytes_are_counted_as_bytes() -> None:
    found = inherit(config(CLASSIFICATION), config(GENERATION))
    assert found.data.model_dump()["vocabulary_size"] == 256


def test_a_choice_that_agrees_with_the_base_is_none() -> None:
    chosen = {"cell": "gru", "hidden_size": 24, "bidirectional": False}
    found = inherit(config(CLASSIFICATION, architecture=chosen), LANGUAGE_MODEL)
    assert found.architecture.hidden_size == 24


@pytest.mark.parametrize(
    ("task", "part", "name", "value"),
    [
        (GENERATION, "architecture", "hidden_size", 25),
        (GENERATION, "architecture", "recurrent_init", "uniform"),
        (GENERATION, "data", "tokenizer", "word"),
        (CLASSIFICATION, "architecture", "cell", "lstm"),
        (CLASSIFICATION, "architecture", "bidirectional", True),
        (CLASSIFICATION, "architecture", "convolution", {"channels": 3}),
        (CLASSIFICATION, "data", "tokenizer", "word"),
        (CLASSIFICATION, "data", "vocabulary_size", 900),
        (CLASSIFICATION, "data", "min_frequency", 5),
    ],
)
def test_a_choice_that_contradicts_the_base_is_named(
    task: str, part: str, name: str, value: object
) -> None:
    with pytest.raises(ConfigError, match=name) as refused:
        inherit(config(task, **{part: {name: value}}), LANGUAGE_MODEL)
    assert refused.value.location == (part, name)


def test_a_dropout_that_the_bases_cell_lacks_is_refused() -> None:
    base = config(GENERATION, architecture={"cell": "mingru"})
    with pytest.raises(ConfigError, match="weight_dropout: mingru"):
        inherit(config(GENERATION, architecture={"weight_dropout": 0.5}), base)


def test_another_task_is_no_base() -> None:
    with pytest.raises(ConfigError, match="cannot start from text-classification"):
        inherit(config(GENERATION), config(CLASSIFICATION))
