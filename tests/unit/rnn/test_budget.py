"""A training that was given a time has its rate down when the time is over."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rnn.budget import StepBudget
from rnn.config import GenerationConfig, TrainingConfig
from rnn.data.examples import CorpusExamples
from rnn.events import CheckpointDue, Evaluated, Event, Finished, Started, StepDone
from rnn.train import train
from tests.unit.rnn.trainings import Scripted, generation


@dataclass
class Working(Scripted):
    """Its clock advances by what was done: a step, an evaluation."""

    step_seconds: float = 1.0
    evaluation_seconds: float = 0.0
    done: list[Event] = field(default_factory=list)

    def elapsed_seconds(self) -> float:
        return self.seconds

    def took(self, event: Event) -> None:
        self.done.append(event)
        if isinstance(event, StepDone):
            self.step = event.step
            self.seconds += self.step_seconds
        elif isinstance(event, Evaluated):
            self.seconds += self.evaluation_seconds


def run(
    config: GenerationConfig, corpus: CorpusExamples, control: Working, resume: Path | None = None
) -> list[Event]:
    for event in train(config, corpus, device="cpu", control=control, resume=resume):
        control.took(event)
    return control.done


def steps(history: list[Event]) -> list[StepDone]:
    return [event for event in history if isinstance(event, StepDone)]


def for_minutes(minutes: float | None, **choices: object) -> GenerationConfig:
    return generation(max_minutes=minutes, max_epochs=1000, early_stopping_patience=None, **choices)


@pytest.mark.parametrize("evaluation_seconds", [0.0, 4.0])
def test_the_rate_is_down_just_before_the_time_is_over(
    corpus: CorpusExamples, evaluation_seconds: float
) -> None:
    control = Working(step_seconds=1.0, evaluation_seconds=evaluation_seconds)
    history = run(for_minutes(2), corpus, control)
    last = history[-1]
    assert isinstance(last, Finished)
    assert last.reason == "max_minutes"
    assert 110 <= control.seconds <= 120
    rates = [event.learning_rate for event in steps(history)]
    assert rates[-1] == pytest.approx(0.02 * 0.01, rel=0.3)  # the floor of the cosine
    assert steps(history)[0].total_steps == 1000 * 11  # as long as nothing was measured
    assert steps(history)[-1].total_steps == last.step


def test_a_plan_is_mended_when_the_steps_become_slower(corpus: CorpusExamples) -> None:
    class Slowing(Working):
        def took(self, event: Event) -> None:
            super().took(event)
            if self.step == 40:
                self.step_seconds = 2.0

    control = Slowing()
    history = run(for_minutes(2), corpus, control)
    assert steps(history)[-1].learning_rate < 0.02 * 0.1
    assert control.seconds <= 120


def test_the_steps_of_the_configuration_are_never_exceeded(corpus: CorpusExamples) -> None:
    history = run(for_minutes(60, max_steps=50), corpus, Working())
    last = history[-1]
    assert isinstance(last, Finished)
    assert (last.reason, last.step) == ("max_steps", 50)
    assert {event.total_steps for event in steps(history)} == {50}


def test_a_resumed_training_keeps_the_plan(corpus: CorpusExamples, tmp_path: Path) -> None:
    first = Working(checkpoint_at={33}, stop_at=33)
    for event in train(for_minutes(2), corpus, device="cpu", control=first, resume=None):
        first.took(event)
        if isinstance(event, CheckpointDue):
            event.save(tmp_path / "33")
    second = Working()
    history = run(for_minutes(2), corpus, second, tmp_path / "33")
    started = history[0]
    assert isinstance(started, Started)
    assert started.total_steps == steps(first.done)[-1].total_steps < 1000
    assert steps(history)[0].total_steps == started.total_steps
    assert 110 <= first.seconds + second.seconds <= 120


def test_without_minutes_the_clock_changes_nothing(corpus: CorpusExamples) -> None:
    config = generation(max_steps=45)
    slow, fast = Working(step_seconds=1e4), Working(step_seconds=1e-3)
    assert steps(run(config, corpus, slow)) == steps(run(config, corpus, fast))


def test_steps_that_are_all_evaluated_are_planned_too() -> None:
    """An epoch of one step: no step is ever measured alone."""
    budget = StepBudget(TrainingConfig(max_minutes=2, evaluations_per_epoch=3), steps_per_epoch=1)
    plan = None
    for step in range(1, 41):
        plan = budget.planned(plan, step, float(step), evaluated_before=step > 1)
    assert plan == 116  # of 120 seconds 2 % are spared, and one second for the last evaluation


def test_a_clock_that_stands_still_makes_no_plan() -> None:
    budget = StepBudget(TrainingConfig(max_minutes=1), steps_per_epoch=10)
    plans = [budget.planned(None, step, 0.0, evaluated_before=False) for step in range(100)]
    assert set(plans) == {None}
