"""Alerts of real trainings that go wrong in a known way, and none of one that does not."""

from typing import Any

import numpy as np
import pytest
import torch

from rnn.alerts import EXPLODING_FACTOR, SATURATED_SHARE, VANISHING_SHARE, findings
from rnn.config import ArchitectureConfig, ClassificationConfig
from rnn.data.examples import TextExamples
from rnn.events import Alert, Diagnosed, Event, LayerFigures
from rnn.recurrences.recurrence import Recurrence
from rnn.stack import RecurrentStack
from tests.unit.rnn.trainings import Scripted, events


class Still(Scripted):
    """Its clock stands still: every look costs nothing."""

    def elapsed_seconds(self) -> float:
        return 0.0


@pytest.fixture
def told_by_the_first_word() -> TextExamples:
    """Sixty words, of which the first one decides: a task of long lags."""
    random = np.random.default_rng(3)
    filler = ["the", "film", "and", "its", "music", "story", "was", "there", "we", "saw"]
    labels = ["good", "bad"] * 48
    texts = [
        " ".join([{"good": "lovely", "bad": "awful"}[label], *random.choice(filler, size=60)])
        for label in labels
    ]
    return TextExamples(texts, labels, None)


def long_lags(**architecture: Any) -> ClassificationConfig:
    return ClassificationConfig.model_validate(
        {
            "task": "text-classification",
            "architecture": {
                "hidden_size": 24,
                "embedding_size": 8,
                "num_layers": 1,
                "bidirectional": False,
                "pooling": "last",
                **architecture,
            },
            "training": {
                "max_epochs": 4,
                "batch_size": 8,
                "learning_rate": 0.003,
                "diagnostics_interval": 10,
            },
            "data": {"validation_fraction": 0.2, "min_frequency": 1},
        }
    )


def told(config: ClassificationConfig, examples: TextExamples) -> tuple[list[Alert], list[Event]]:
    history = list(events(config, examples, Still()))
    return [event for event in history if isinstance(event, Alert)], history


def test_a_simple_recurrence_on_a_long_lag_is_told_that_its_gradient_vanishes(
    told_by_the_first_word: TextExamples,
) -> None:
    config = long_lags(cell="rnn_tanh", recurrent_init="uniform")
    alerts, history = told(config, told_by_the_first_word)
    assert [(alert.kind, alert.layer) for alert in alerts] == [("vanishing", 1)]
    assert alerts[0].message.startswith("layer 1")
    assert "lstm" in alerts[0].remedy
    looks = [event for event in history if isinstance(event, Diagnosed)]
    assert len(looks) > 1
    assert all(
        event.alerts == [("vanishing", 1)] for event in looks if event.step >= alerts[0].step
    )


def test_an_lstm_on_the_same_task_is_told_nothing(told_by_the_first_word: TextExamples) -> None:
    alerts, history = told(long_lags(cell="lstm"), told_by_the_first_word)
    assert any(isinstance(event, Diagnosed) for event in history)
    assert alerts == []


def changed(monkeypatch: pytest.MonkeyPatch, weights: dict[str, float]) -> None:
    """Begins trainings with recurrent weights scaled or biases raised."""
    built = RecurrentStack.__init__

    @torch.no_grad()
    def build(self: RecurrentStack, *args: Any, **options: Any) -> None:
        built(self, *args, **options)
        for layer in self.recurrent_layers():
            assert not isinstance(layer.forwards, Recurrence)
            own = layer.weights()
            assert own.recurrent_weight_gh is not None
            own.recurrent_weight_gh.mul_(weights.get("scale", 1.0))
            own.input_bias_g.add_(weights.get("bias", 0.0))

    monkeypatch.setattr(RecurrentStack, "__init__", build)


def test_large_recurrent_weights_are_told_to_explode(
    told_by_the_first_word: TextExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(monkeypatch, {"scale": 3.0})
    alerts, _ = told(long_lags(cell="rnn_tanh"), told_by_the_first_word)
    assert ("exploding", 1) in [(alert.kind, alert.layer) for alert in alerts]


def test_an_lstm_with_huge_biases_is_told_that_it_is_saturated(
    told_by_the_first_word: TextExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(monkeypatch, {"bias": 30.0})
    alerts, _ = told(long_lags(cell="lstm"), told_by_the_first_word)
    assert ("saturated", 1) in [(alert.kind, alert.layer) for alert in alerts]


def figures(**values: Any) -> LayerFigures:
    fine: dict[str, Any] = {
        "layer": 1,
        "gradient_norms": {1: 1.0, 16: 0.5},
        "effective_memory": 16,
        "gate_saturation": {"in_gate": 0.1, "out_gate": 0.1},
        "spectral_radius": {},
        "dead_units": 0.0,
        "update_ratio": 0.001,
    }
    return LayerFigures(**{**fine, **values})


def kinds(*layers: LayerFigures, **architecture: Any) -> list[tuple[str, int | None]]:
    config = ArchitectureConfig.model_validate(architecture)
    return [finding.place for finding in findings(list(layers), config)]


def test_limits_are_where_they_are_said_to_be() -> None:
    assert kinds(figures()) == []
    assert kinds(figures(gradient_norms={1: 1.0, 16: 0.99 * VANISHING_SHARE})) == [("vanishing", 1)]
    assert kinds(figures(gradient_norms={1: 1.0, 16: 1.01 * VANISHING_SHARE})) == []
    assert kinds(figures(gradient_norms={1: 1.0, 4: 1.01 * EXPLODING_FACTOR})) == [("exploding", 1)]
    assert kinds(figures(gradient_norms={1: 1.0, 4: 0.99 * EXPLODING_FACTOR})) == []
    assert kinds(figures(gate_saturation={"in_gate": SATURATED_SHARE})) == [("saturated", 1)]
    assert kinds(figures(gate_saturation={"in_gate": 1.0, "out_gate": 0.7})) == []


def test_a_gradient_without_end_is_told_to_explode() -> None:
    assert kinds(figures(gradient_norms={1: np.inf, 2: np.nan, 16: np.nan})) == [("exploding", 1)]


def test_a_stack_remembers_as_long_as_one_of_its_layers_does() -> None:
    short, shorter = {1: 1.0, 16: 1e-5}, {1: 1.0, 16: 1e-7}
    assert kinds(figures(gradient_norms=short), figures(layer=2)) == []
    both = figures(gradient_norms=shorter), figures(layer=2, gradient_norms=short)
    assert kinds(*both) == [("vanishing", 2)]


def test_short_rows_and_layers_without_gradient_are_told_nothing() -> None:
    assert kinds(figures(gradient_norms={1: 1.0, 2: 1e-9})) == []
    assert kinds(figures(gradient_norms={1: 0.0, 16: 0.0})) == []
    assert kinds(figures(gradient_norms={})) == []


def test_gates_that_a_chrono_start_opens_are_no_alarm() -> None:
    open_gates = figures(gate_saturation={"update_gate": 1.0})
    assert kinds(open_gates, cell="mingru", chrono_length=1000) == []
    assert kinds(open_gates, cell="mingru") == [("saturated", 1)]


def test_an_alert_is_told_once_and_again_only_after_it_ended(
    told_by_the_first_word: TextExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    saturated = {"in_gate": 1.0}
    looks = iter([{}, saturated, saturated, {}, saturated, saturated] + [{}] * 100)
    monkeypatch.setattr("rnn.train.look", lambda *_: [figures(gate_saturation=next(looks))])
    config = long_lags(cell="lstm")
    training = config.training.model_copy(update={"diagnostics_interval": 1})
    alerts, _ = told(config.model_copy(update={"training": training}), told_by_the_first_word)
    assert [(alert.step, alert.kind) for alert in alerts] == [(2, "saturated"), (5, "saturated")]
