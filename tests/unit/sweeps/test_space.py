from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError as PydanticValidationError

from rnn.classification.metrics import classification_metrics
from rnn.data.examples import SeriesExamples
from rnn.events import Evaluated
from rnn.generation.metrics import text_metrics
from service.errors import ValidationError
from service.jobs.requests import JOB_REQUESTS, JobRequest
from service.jobs.submission import config_of
from service.sweeps.space import (
    METRICS,
    SPACES,
    grid,
    lies_in,
    require_grid,
    require_space,
    values_at,
    with_values,
)
from tests.unit.rnn import trainings

FORECASTING = "time-series-forecasting"


def request(**parts: Any) -> JobRequest:
    return JOB_REQUESTS.validate_python({"task": FORECASTING, "dataset": "sales", **parts})


def faults_of(space: dict[str, Any], **parts: Any) -> dict[str, str]:
    """What is found wrong where, below `body.space`."""
    with pytest.raises(ValidationError) as caught:
        require_space(request(**parts), SPACES.validate_python(space), config_of)
    return {".".join(map(str, fault.location[2:])): fault.message for fault in caught.value.faults}


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        ({"type": "float", "low": 1.0, "high": 1.0}, "not below"),
        ({"type": "int", "low": 3, "high": 2}, "not below"),
        ({"type": "float", "low": 0.0, "high": 1.0, "log": True}, "above 0"),
        ({"type": "int", "low": 0, "high": 8, "log": True}, "above 0"),
        ({"type": "float", "low": 0.1, "high": 1.0, "log": True, "step": 0.1}, "has no step"),
        ({"type": "int", "low": 1, "high": 9, "log": True, "step": 2}, "has no step"),
        ({"type": "float", "low": 0.0, "high": 1.0, "step": 0.3}, "no number of steps"),
        ({"type": "int", "low": 1, "high": 8, "step": 2}, "no number of steps"),
        ({"type": "float", "low": 0.0, "high": 1.0, "step": 0.0}, "greater than 0"),
        ({"type": "float", "low": 0.0, "high": 1e300, "step": 1e-300}, "more than 1,000,000,000"),
        ({"type": "float", "low": -1e308, "high": 1e308, "step": 1.0}, "more than 1,000,000,000"),
        ({"type": "int", "low": 0, "high": 10**400, "step": 1}, "more than 1,000,000,000"),
        ({"type": "int", "low": 1, "high": 8, "step": 0}, "greater than or equal to 1"),
        ({"type": "int", "low": 1.5, "high": 8}, "valid integer"),
        ({"type": "float", "low": "1", "high": 8}, "valid number"),
        ({"type": "float", "low": float("nan"), "high": 8}, "finite"),
        ({"type": "categorical", "choices": []}, "at least 1"),
        ({"type": "categorical", "choices": ["a", "a"]}, "twice"),
        ({"type": "categorical", "choices": [1, True]}, "twice"),
        ({"type": "categorical", "choices": [[1]]}, "number, a text, true, false or null"),
        ({"type": "categorical", "choices": list(range(51))}, "at most 50"),
        ({"type": "uniform", "low": 1, "high": 2}, "'float', 'int', 'categorical'"),
        ({"low": 1, "high": 2}, "discriminator"),
        ({"type": "int", "low": 1, "high": 2, "q": 1}, "not permitted"),
    ],
)
def test_a_range_that_is_none(dimension: dict[str, Any], message: str) -> None:
    with pytest.raises(PydanticValidationError, match=message):
        SPACES.validate_python({"training.batch_size": dimension})


def test_steps_are_those_of_decimal_numbers() -> None:
    """0.1 + 0.1 + 0.1 is not 0.3."""
    space = SPACES.validate_python(
        {"architecture.dropout": {"type": "float", "low": 0.0, "high": 0.3, "step": 0.1}}
    )
    dropout = space["architecture.dropout"]
    assert list(dropout.points()) == [0.0, 0.1, 0.2, 0.3]
    assert dropout.holds(0.3)
    assert not dropout.holds(0.25)


def test_what_a_range_holds() -> None:
    space = SPACES.validate_python(
        {
            "a": {"type": "int", "low": 2, "high": 8, "step": 2},
            "b": {"type": "float", "low": 0.5, "high": 1.0},
            "c": {"type": "categorical", "choices": ["x", None, 3]},
        }
    )
    assert lies_in({"a": 4, "b": 1, "c": None}, space)
    for path, value in [("a", 3), ("a", 10), ("a", True), ("a", 4.0), ("b", 0.4), ("b", None)]:
        assert not lies_in({path: value}, space)
    assert not lies_in({"c": "y"}, space)


def test_values_are_laid_into_the_request_and_found_in_what_it_becomes() -> None:
    asked = request(training={"seed": 3}, model="demand")
    values = {
        "training.learning_rate": 0.5,
        "architecture.convolution.channels": 8,
        "preset": "small",
    }
    changed = with_values(asked, values)
    assert (changed.model, changed.training.seed, changed.preset) == ("demand", 3, "small")
    assert changed.training.model_fields_set == {"seed", "learning_rate"}
    assert values_at(config_of(changed).model_dump(mode="json"), list(values)) == values
    assert asked.training.learning_rate != 0.5


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("training.learning_rat", "is no choice of"),
        ("training.learning_rate.log", "is no choice of"),
        ("learning_rate", "is no choice of"),
        ("task", "is no choice of"),
        ("dataset", "is no choice of"),
        ("training.label_smoothing", "is no choice of time-series-forecasting"),
        ("training", "is a part: name one of max_epochs"),
        ("architecture.convolution", "is a part"),
    ],
)
def test_a_path_that_leads_nowhere(path: str, message: str) -> None:
    found = faults_of({path: {"type": "float", "low": 0.1, "high": 0.2}})
    assert found.keys() == {path}
    assert message in found[path]


def test_a_part_and_something_in_it() -> None:
    found = faults_of(
        {
            "architecture.convolution": {"type": "categorical", "choices": [None]},
            "architecture.convolution.channels": {"type": "int", "low": 8, "high": 16},
        }
    )
    assert found == {"architecture.convolution": "is chosen as a whole and in parts"}


def test_both_ends_and_every_choice_are_tried() -> None:
    found = faults_of(
        {
            "training.learning_rate": {"type": "float", "low": 0.0, "high": 20.0},
            "training.batch_size": {"type": "float", "low": 1.5, "high": 8.0},
            "architecture.cell": {"type": "categorical", "choices": ["lstm", "lstn", "mlstm"]},
        },
        architecture={"hidden_size": 4},
    )
    assert found.keys() == {
        "training.learning_rate.low",
        "training.learning_rate.high",
        "training.batch_size.low",
        "training.batch_size.high",
        "architecture.cell.choices.1",
        "architecture.cell.choices.2",
    }
    assert "greater than 0" in found["training.learning_rate.low"]
    assert "integer" in found["training.batch_size.low"]
    assert "two units" in found["architecture.cell.choices.2"]


def test_what_cannot_be_resolved_is_named() -> None:
    def resolve(changed: JobRequest) -> Any:
        if changed.training.batch_size > 8:
            raise ValidationError("The batch is too large.")
        return config_of(changed)

    space = SPACES.validate_python({"training.batch_size": {"type": "int", "low": 4, "high": 16}})
    with pytest.raises(ValidationError) as caught:
        require_space(request(), space, resolve)
    [fault] = caught.value.faults
    assert fault.location == ("body", "space", "training.batch_size", "high")
    assert fault.message == "The batch is too large."


def test_a_grid_has_every_combination_once_in_an_order_of_its_seed() -> None:
    space = SPACES.validate_python(
        {
            "a": {"type": "int", "low": 1, "high": 5, "step": 2},
            "b": {"type": "categorical", "choices": ["x", "y"]},
        }
    )
    found = [tuple(values.values()) for values in grid(space, 7)]
    assert sorted(found) == [(1, "x"), (1, "y"), (3, "x"), (3, "y"), (5, "x"), (5, "y")]
    assert found == [tuple(values.values()) for values in grid(space, 7)]
    assert found != [tuple(values.values()) for values in grid(space, 8)]


def test_a_grid_is_finite_and_not_too_large() -> None:
    endless = {"a": {"type": "float", "low": 0.0, "high": 1.0}}
    with pytest.raises(ValidationError) as caught:
        require_grid(SPACES.validate_python(endless))
    assert caught.value.faults[0].location == ("body", "space", "a")
    large = {name: {"type": "int", "low": 1, "high": 10**6} for name in "abc"}
    with pytest.raises(ValidationError, match="1,000,000,000,000,000,000 combinations"):
        require_grid(SPACES.validate_python(large))


def test_the_metrics_are_those_that_trainings_report() -> None:
    values = [10 + np.arange(48) % 8 * level + np.arange(48) / 9 for level in range(4)]
    examples = SeriesExamples(list("abcd"), values, [None] * 4, "1h")
    evaluated = next(
        event
        for event in trainings.events(trainings.forecasting(max_epochs=1), examples)
        if isinstance(event, Evaluated)
    )
    assert METRICS["time-series-forecasting"].keys() <= evaluated.metrics.keys()
    scores = classification_metrics(torch.zeros(2, 2), torch.tensor([0, 1]))
    assert METRICS["text-classification"].keys() <= scores.keys()
    assert METRICS["text-generation"].keys() <= text_metrics(1.0, 1.0).keys()
    assert [next(iter(METRICS[task])) for task in METRICS] == ["loss", "loss", "loss_nats"]
