"""Trainings killed at twenty random moments take, to the bit, the steps of one that never was."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn.checkpoint import read
from rnn.config import TaskConfig
from rnn.data.examples import CorpusExamples, Examples, SeriesExamples, TextExamples
from rnn.events import (
    Alert,
    CheckpointDue,
    Diagnosed,
    Evaluated,
    Event,
    Finished,
    Sampled,
    StepDone,
)
from tests.unit.rnn.trainings import (
    Scripted,
    classification,
    events,
    finished,
    forecasting,
    generation,
    weights_hash,
)

KILLS = 20
Case = tuple[TaskConfig, Examples]


class Still(Scripted):
    """Its clock stands still, so that every look into the network costs nothing."""

    def elapsed_seconds(self) -> float:
        return 0.0


def with_architecture(config: TaskConfig, **choices: Any) -> TaskConfig:
    document = config.model_dump(mode="json")
    document["architecture"].update(choices)
    return type(config).model_validate(document)


@pytest.fixture
def cases(
    series: SeriesExamples, sentences: TextExamples, corpus: CorpusExamples
) -> dict[str, Case]:
    """Together they have all that a training draws, carries or remembers."""
    everywhere = {"early_stopping_patience": None, "diagnostics_interval": 7}
    return {
        "forecasting": (
            with_architecture(
                forecasting(
                    max_epochs=10,
                    averaging="exponential",
                    averaging_decay=0.9,
                    optimizer="sgd",
                    gradient_clip_value=0.05,
                    **everywhere,
                ),
                cell="gru",
                zoneout=0.1,
                weight_dropout=0.2,
                output_dropout=0.1,
            ),
            series,
        ),
        "classification": (
            with_architecture(
                classification(
                    max_epochs=7,
                    unfreeze_epochs=1.5,
                    layer_rate_decay=0.4,
                    averaging="exponential",
                    schedule="slanted_triangular",
                    temporal_activation_penalty=0.5,
                    **everywhere,
                ),
                recurrent_dropout=0.2,
                input_dropout=0.1,
            ),
            sentences,
        ),
        "generation": (
            with_architecture(
                generation(
                    max_epochs=5,
                    averaging="triggered",
                    learning_rate=3.0,
                    schedule="constant",
                    random_bptt=True,
                    activation_penalty=0.01,
                    evaluations_per_epoch=6,
                    l1_penalty=1e-4,
                    **everywhere,
                ),
                weight_dropout=0.3,
                recurrent_dropout=0.2,
            ),
            corpus,
        ),
        "generation, other noise": (
            with_architecture(
                generation(max_epochs=4, optimizer="rmsprop", **everywhere),
                cell="layer_norm_lstm",
                zoneout=0.1,
                weight_dropout=0.3,
            ),
            corpus,
        ),
    }


def killed(case: Case, last_step: int, folder: Path) -> tuple[list[Event], Finished]:
    """Each attempt saves at a random step, goes on, and dies a few steps later."""
    random = np.random.default_rng(11)
    kills = sorted(random.choice(np.arange(2, last_step), size=KILLS, replace=False).tolist())
    seen: list[Event] = []
    resume: Path | None = None
    done = 0
    for kill in [*kills, None]:
        save_at = done if kill is None else int(random.integers(done, kill + 1))
        for event in events(*case, Still({save_at}), resume):
            match event:
                case CheckpointDue():
                    resume = folder / f"{kill}-{event.step}"
                    event.save(resume)
                    done = event.step
                case StepDone() | Evaluated() | Sampled() | Diagnosed() | Alert():
                    seen.append(event)
                case Finished():
                    return seen, event
            if kill is not None and getattr(event, "step", 0) >= kill:
                break
    raise AssertionError("no attempt came to its end")


@pytest.mark.parametrize(
    "task", ["forecasting", "classification", "generation", "generation, other noise"]
)
def test_twenty_kills_change_nothing(task: str, cases: dict[str, Case], tmp_path: Path) -> None:
    whole = list(events(*cases[task], Still()))
    last = whole[-1]
    assert isinstance(last, Finished)
    seen, end = killed(cases[task], last.step, tmp_path)
    kinds = StepDone | Evaluated | Sampled | Diagnosed | Alert
    told = [event for event in whole if isinstance(event, kinds)]
    assert {(type(event), event.step): repr(event) for event in seen} == {
        (type(event), event.step): repr(event) for event in told
    }
    for kind in (Diagnosed, Sampled):
        assert any(isinstance(event, kind) for event in told)
    assert end.metrics == last.metrics
    assert weights_hash(end, tmp_path / "end") == weights_hash(last, tmp_path / "last")


def test_the_triggered_average_of_the_case_above_begins(
    cases: dict[str, Case], tmp_path: Path
) -> None:
    config, examples = cases["generation"]
    steps = finished(config, examples).step
    for event in events(config, examples, Scripted({steps - 1}, steps - 1)):
        if isinstance(event, CheckpointDue):
            event.save(tmp_path / "late")
    tensors = read(tmp_path / "late", "checkpoint").tensors
    assert 0 < int(tensors["average:steps"]) < steps
