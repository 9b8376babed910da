from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnn.averaging import TRIGGER_EVALUATIONS, WeightAverage
from rnn.config import TrainingConfig
from rnn.data.examples import CorpusExamples
from rnn.events import Evaluated, Finished
from tests.unit.rnn.trainings import events, finished, generation


def stepped(average: WeightAverage, network: nn.Linear, steps: int) -> list[Tensor]:
    """The weights after each of some steps of a random walk."""
    generator = torch.Generator().manual_seed(steps)
    walk = []
    for _ in range(steps):
        with torch.no_grad():
            network.weight += torch.randn(network.weight.shape, generator=generator)
        average.step()
        walk.append(network.weight.detach().clone())
    return walk


def averaged(average: WeightAverage, network: nn.Linear) -> Tensor:
    with average.applied():
        return network.weight.detach().clone()


def test_a_young_exponential_average_forgets_the_first_steps() -> None:
    network = nn.Linear(1, 1)
    average = WeightAverage(network, TrainingConfig(averaging="exponential", averaging_decay=0.999))
    for step in range(100):
        network.weight.data.fill_(float(step >= 50))
        average.step()
    assert averaged(average, network).item() == pytest.approx(1 - 0.5**3, abs=0.02)


def test_an_old_exponential_average_has_its_decay() -> None:
    network = nn.Linear(1, 1)
    average = WeightAverage(network, TrainingConfig(averaging="exponential", averaging_decay=0.9))
    for step in range(100):
        network.weight.data.fill_(float(step >= 90))
        average.step()
    assert averaged(average, network).item() == pytest.approx(1 - 0.9**10)


def test_a_triggered_average_is_the_mean_since_it_began() -> None:
    network = nn.Linear(3, 2)
    average = WeightAverage(network, TrainingConfig(averaging="triggered"))
    before = stepped(average, network, 3)
    assert torch.equal(averaged(average, network), before[-1])
    average.begin()
    assert torch.equal(averaged(average, network), before[-1])
    walk = stepped(average, network, 5)
    torch.testing.assert_close(averaged(average, network), torch.stack(walk).mean(0))


def test_the_weights_that_learn_are_left_alone() -> None:
    network = nn.Linear(3, 2)
    average = WeightAverage(network, TrainingConfig(averaging="exponential"))
    last = stepped(average, network, 4)[-1]
    assert not torch.equal(averaged(average, network), last)
    assert torch.equal(network.weight, last)


@pytest.mark.parametrize("patience", [None, 2, 50])
def test_a_mean_begins_when_the_loss_stopped_falling_but_before_the_training_would_stop(
    patience: int | None,
) -> None:
    training = TrainingConfig(averaging="triggered", early_stopping_patience=patience)
    average = WeightAverage(nn.Linear(3, 2), training)
    trigger = min(TRIGGER_EVALUATIONS, patience or TRIGGER_EVALUATIONS)
    assert not average.triggered(trigger - 1)
    assert average.triggered(trigger)
    average.begin()
    assert not average.triggered(trigger)


def test_without_one_nothing_is_averaged() -> None:
    network = nn.Linear(3, 2)
    average = WeightAverage(network, TrainingConfig())
    last = stepped(average, network, 2)[-1]
    assert torch.equal(averaged(average, network), last)
    assert not average.triggered(100)
    assert average.state_tensors() == {}


def test_the_average_is_what_is_judged_and_published(corpus: CorpusExamples) -> None:
    config = generation(averaging="exponential", averaging_decay=0.9, schedule="constant")
    plain = finished(generation(schedule="constant"), corpus)
    *history, last = events(config, corpus)
    assert isinstance(last, Finished)
    best = min(event.metrics["loss_nats"] for event in history if isinstance(event, Evaluated))
    assert last.metrics["loss_nats"] == best
    assert last.metrics["loss_nats"] != plain.metrics["loss_nats"]


def test_a_training_goes_on_with_averaging_where_it_would_have_stopped(
    corpus: CorpusExamples,
) -> None:
    choices: dict[str, Any] = {
        "learning_rate": 0.05,
        "schedule": "constant",
        "max_epochs": 60,
        "early_stopping_patience": 3,
    }
    alone = finished(generation(**choices), corpus)
    assert alone.reason == "early_stopping"
    averaged = finished(generation(averaging="triggered", **choices), corpus)
    assert averaged.step > alone.step
    assert averaged.metrics["loss_nats"] < alone.metrics["loss_nats"]
