"""A training that diverges goes back to what was good, with half the rate, a few times."""

from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rnn.checkpoint import read
from rnn.data.examples import CorpusExamples
from rnn.errors import DivergedError
from rnn.events import Alert, CheckpointDue, Evaluated, Event, Finished, StepDone
from rnn.generation.work import GenerationWork
from rnn.work import Batch, PartLoss
from tests.unit.rnn.trainings import Scripted, events, generation, weights_hash


def sabotage(monkeypatch: pytest.MonkeyPatch, batches: set[int]) -> None:
    """Makes the losses of given batches infinite, counted from 1 over the whole training."""
    honest = GenerationWork.batch

    def batch(work: GenerationWork, epoch: int, index: int) -> Batch:
        batch = honest(work, epoch, index)
        if epoch * work.steps_per_epoch + index + 1 not in batches:
            return batch

        def loss(rows: slice) -> PartLoss:
            part = batch.loss(rows)
            return replace(part, loss=part.loss * torch.inf)

        return replace(batch, loss=loss)

    monkeypatch.setattr(GenerationWork, "batch", batch)


def test_the_weights_go_back_to_the_last_evaluation_and_the_batches_go_on(
    corpus: CorpusExamples, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = generation(schedule="constant", warmup_fraction=0)
    first = next(event for event in events(config, corpus) if isinstance(event, Evaluated))
    bad = first.step + 2
    sabotage(monkeypatch, {bad})
    folders: dict[int, dict[str, Tensor]] = {}
    told: list[Event] = []
    for event in events(config, corpus, Scripted(set(range(1000)))):
        told.append(event)
        if isinstance(event, CheckpointDue) and event.step <= bad:
            event.save(tmp_path / f"{event.step}")
            folders[event.step] = dict(read(tmp_path / f"{event.step}", "checkpoint").tensors)
    learned = [name for name in folders[first.step] if name.startswith(("weights:", "optimizer:"))]
    assert all(torch.equal(folders[bad][name], folders[first.step][name]) for name in learned)
    assert not torch.equal(folders[bad - 1][learned[0]], folders[first.step][learned[0]])

    steps = [event for event in told if isinstance(event, StepDone)]
    assert [event.step for event in steps] == [
        step for step in range(1, steps[-1].step + 1) if step != bad
    ]
    assert {event.learning_rate for event in steps if event.step < bad} == {0.02}
    assert {event.learning_rate for event in steps if event.step > bad} == {0.01}
    (alert,) = (event for event in told if isinstance(event, Alert))
    assert (alert.step, alert.kind, alert.layer) == (bad, "diverged", None)
    assert "0.5 times the rate (rollback 1 of 3)" in alert.message
    assert isinstance(told[-1], Finished)


def test_a_training_that_keeps_diverging_fails_after_its_rollbacks(
    corpus: CorpusExamples, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its last checkpoint is the last good state, from which it can go on."""
    sabotage(monkeypatch, {3, 5, 6})
    config, folder = generation(max_rollbacks=2), tmp_path / "kept"
    alerts: list[int] = []

    def heed(event: Event) -> None:
        if isinstance(event, Alert):
            alerts.append(event.step)
        if isinstance(event, CheckpointDue):
            event.save(folder)

    with pytest.raises(DivergedError, match="step 6: the loss is inf"):
        deque(map(heed, events(config, corpus)), maxlen=0)
    assert alerts == [3, 5]
    kept = read(folder, "checkpoint").tensors
    weights = [name for name in kept if name.startswith("weights:")]
    assert weights
    for name in weights:  # there was no evaluation yet: those of the start
        assert torch.equal(kept[name], kept[name.replace("weights:", "best:", 1)])
    *_, last = events(config, corpus, resume=folder)
    assert isinstance(last, Finished)


def test_a_held_out_loss_that_is_not_finite_goes_back_too(
    corpus: CorpusExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, calls = GenerationWork.evaluate, iter(range(100))

    def evaluate(work: GenerationWork) -> dict[str, float]:
        metrics = honest(work)
        return {**metrics, "loss_nats": float("nan")} if next(calls) == 1 else metrics

    monkeypatch.setattr(GenerationWork, "evaluate", evaluate)
    told = list(events(generation(), corpus))
    (alert,) = (event for event in told if isinstance(event, Alert))
    assert "held-out loss" in alert.message
    assert alert.step not in {event.step for event in told if isinstance(event, Evaluated)}
    assert isinstance(told[-1], Finished)


def test_a_training_that_was_never_good_publishes_nothing(
    corpus: CorpusExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GenerationWork, "evaluate", lambda _: {"loss_nats": float("nan")})
    with pytest.raises(DivergedError, match="held-out loss"):
        list(events(generation(max_steps=1), corpus))


def test_a_rollback_after_a_resumption_comes_to_the_same(
    corpus: CorpusExamples, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The good state is in the checkpoint: what is resumed may have begun to go wrong."""
    sabotage(monkeypatch, {11})
    *_, last = events(generation(), corpus)
    assert isinstance(last, Finished)
    for event in events(generation(), corpus, Scripted({10}, 10)):
        if isinstance(event, CheckpointDue):
            event.save(tmp_path / "10")
    *_, resumed = events(generation(), corpus, resume=tmp_path / "10")
    assert isinstance(resumed, Finished)
    assert weights_hash(resumed, tmp_path / "b") == weights_hash(last, tmp_path / "a")
