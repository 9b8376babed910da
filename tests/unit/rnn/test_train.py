"""Whole trainings: they learn, stop as told, resume bit for bit, and refuse to diverge."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from rnn.checkpoint import load_model, manifest_sha256, read
from rnn.classification.predictor import Classifier
from rnn.config import CellName, ServingConfig, TaskConfig
from rnn.data.examples import CorpusExamples, Examples, SeriesExamples, TextExamples
from rnn.determinism import Randomness
from rnn.errors import CheckpointError, ConfigError, DataTooSmallError, DivergedError
from rnn.events import (
    CheckpointDue,
    Evaluated,
    Finished,
    Started,
    StepDone,
    Stopped,
)
from rnn.forecasting.predictor import Forecaster
from rnn.generation.predictor import Generator
from rnn.kernels import library
from rnn.resolve import resolve
from tests.unit.rnn.trainings import (
    Scripted,
    classification,
    events,
    finished,
    forecasting,
    generation,
    weights_hash,
)


@pytest.fixture
def cases(
    series: SeriesExamples, sentences: TextExamples, corpus: CorpusExamples
) -> dict[str, tuple[TaskConfig, Examples]]:
    return {
        "forecasting": (forecasting(), series),
        "classification": (classification(), sentences),
        "generation": (generation(), corpus),
    }


TASKS = ["forecasting", "classification", "generation"]


@pytest.fixture(params=["auto", "off"])
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever this machine has, then torch alone."""
    library.select(request.param)
    yield
    library.select("auto")


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("task", TASKS)
def test_interrupted_at_random_steps_equals_uninterrupted(
    task: str, cases: dict[str, tuple[TaskConfig, Examples]], tmp_path: Path
) -> None:
    config, examples = cases[task]
    *history, last = events(config, examples)
    assert isinstance(last, Finished)
    expected = weights_hash(last, tmp_path / "whole")
    whole = [event for event in history if isinstance(event, StepDone | Evaluated)]

    random = np.random.default_rng(7)
    for attempt in range(3):
        cuts = sorted(random.choice(np.arange(1, last.step), size=2, replace=False).tolist())
        resume, seen = None, []
        for cut in [*cuts, None]:
            for event in events(config, examples, Scripted({cut or -1}, cut), resume):
                match event:
                    case Started():
                        assert event.first_step == (0 if resume is None else int(resume.name))
                    case StepDone() | Evaluated():
                        seen.append(event)
                    case CheckpointDue():
                        resume = tmp_path / f"{attempt}" / f"{event.step}"
                        event.save(resume)
                    case Finished():
                        assert event.metrics == last.metrics
                        assert event.reason == last.reason
                        folder = tmp_path / f"{attempt}" / "model"
                        assert weights_hash(event, folder) == expected, cuts
        assert seen == whole, cuts


@pytest.mark.parametrize("task", TASKS)
def test_the_seed_alone_decides_the_weights(
    task: str, cases: dict[str, tuple[TaskConfig, Examples]], tmp_path: Path
) -> None:
    config, examples = cases[task]
    other = config.model_copy(
        update={"training": config.training.model_copy(update={"seed": 2**53 - 1})}
    )
    torch.manual_seed(1)
    first = weights_hash(finished(config, examples), tmp_path / "first")
    torch.manual_seed(2)
    assert weights_hash(finished(config, examples), tmp_path / "second") == first
    assert weights_hash(finished(other, examples), tmp_path / "third") != first


def test_two_trainings_in_one_process_do_not_disturb_each_other(
    corpus: CorpusExamples, tmp_path: Path
) -> None:
    alone = weights_hash(finished(generation(), corpus), tmp_path / "alone")
    pairs = zip(events(generation(), corpus), events(generation(seed=5), corpus), strict=True)
    *_, (last, _) = pairs
    assert isinstance(last, Finished)
    assert weights_hash(last, tmp_path / "beside") == alone


def test_a_forecaster_learns_and_serves_what_it_was_judged_by(
    series: SeriesExamples, tmp_path: Path
) -> None:
    exact = ServingConfig(precision="float32")
    config = forecasting(max_epochs=20).model_copy(update={"serving": exact})
    last = finished(config, series)
    assert last.metrics["mase"] < last.metrics["mase_seasonal_naive"]
    last.save(tmp_path / "model")
    model = load_model(tmp_path / "model")
    assert isinstance(model, Forecaster)
    result = model.forecast([values[:-4] for values in series.values], 4, [0.5])
    errors = [
        np.nanmean(np.abs(median - values[-4:])) / np.nanmean(np.abs(values[8:-4] - values[:-12]))
        for median, values in zip(result.quantiles_bqt[:, 0], series.values, strict=True)
    ]
    assert np.mean(errors) == pytest.approx(last.metrics["mase"], rel=1e-5)


def test_a_classifier_learns_and_serves_its_labels(sentences: TextExamples, tmp_path: Path) -> None:
    last = finished(classification(max_epochs=30, early_stopping_patience=None), sentences)
    assert last.metrics["accuracy"] > 0.9
    last.save(tmp_path / "model")
    model = load_model(tmp_path / "model")
    assert isinstance(model, Classifier)
    assert model.labels == ["bad", "good"]
    result = model.classify(["the film was lovely", "the story was awful and dull"])
    assert result.probabilities_bc.argmax(axis=1).tolist() == [1, 0]


def test_a_generator_learns_and_its_loss_is_the_served_networks(
    corpus: CorpusExamples, tmp_path: Path
) -> None:
    config = generation(max_epochs=30, early_stopping_patience=None)
    last = finished(config, corpus)
    assert last.metrics["loss_nats"] < 2.7  # what the counts of the bytes alone allow is 2.9
    assert last.metrics["bits_per_token"] == pytest.approx(last.metrics["loss_nats"] / np.log(2))
    last.save(tmp_path / "model")
    model = load_model(tmp_path / "model")
    assert isinstance(model, Generator)
    # The few lanes of the evaluation warm up on fewer bytes than one long reading does.
    state, total = model.initial_state(1), 0.0
    held_out = int(len(corpus.data) * config.data.validation_fraction)
    first = len(corpus.data) - held_out
    logits_v, state = model.prefill(corpus.data[:first].tolist(), state)
    for token in corpus.data[first:].tolist():
        total -= float(torch.log_softmax(logits_v, dim=0)[token])
        logits_bv, state = model.step(torch.tensor([token]), state)
        logits_v = logits_bv[0]
    assert total / held_out == pytest.approx(last.metrics["loss_nats"], rel=0.05)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("cell", get_args(CellName))
def test_every_cell_learns_every_task(
    cell: str, task: str, cases: dict[str, tuple[TaskConfig, Examples]]
) -> None:
    config, examples = cases[task]
    document = config.model_dump(mode="json")
    document["architecture"]["cell"] = cell
    history = events(type(config).model_validate(document), examples)
    losses = [event.loss for event in history if isinstance(event, StepDone)]
    part = len(losses) // 3
    assert np.mean(losses[-part:]) < np.mean(losses[:part])


def test_a_test_part_is_measured_once_at_the_end(sentences: TextExamples) -> None:
    splits = ["train"] * 36 + ["validation"] * 12 + ["test"] * 12
    examples = TextExamples(sentences.texts, sentences.labels, splits)
    *history, last = events(classification(), examples)
    assert isinstance(last, Finished)
    assert {"test_accuracy", "test_macro_f1", "test_loss"} <= set(last.metrics)
    evaluated = [event for event in history if isinstance(event, Evaluated)]
    assert not any("test_accuracy" in event.metrics for event in evaluated)


def test_early_stopping_serves_the_best_weights(sentences: TextExamples, tmp_path: Path) -> None:
    config = classification(max_epochs=200, early_stopping_patience=2, learning_rate=0.1)
    *history, last = events(config, sentences)
    evaluated = [event for event in history if isinstance(event, Evaluated)]
    best = min(evaluated, key=lambda event: event.metrics["loss"])
    assert isinstance(last, Finished)
    assert last.reason == "early_stopping"
    assert best is evaluated[-3]
    assert last.metrics["loss"] == best.metrics["loss"]
    assert [event.improved for event in evaluated[-3:]] == [True, False, False]


def test_max_steps_and_max_minutes_end_a_training_with_one_evaluation(
    corpus: CorpusExamples,
) -> None:
    *history, last = events(generation(max_steps=5), corpus)
    assert isinstance(last, Finished)
    assert (last.reason, last.step) == ("max_steps", 5)
    assert isinstance(history[-1], Evaluated)
    assert isinstance(history[-2], StepDone)

    last = finished(generation(max_minutes=0.1), corpus)  # six questions of one second
    assert last.reason == "max_minutes"
    assert last.step == 6


def test_earlier_attempts_count_towards_max_minutes(corpus: CorpusExamples, tmp_path: Path) -> None:
    config = generation(max_minutes=0.15)
    for event in events(config, corpus, Scripted({4}, 4)):
        if isinstance(event, CheckpointDue):
            event.save(tmp_path / "step-4")
    last = finished(config, corpus, resume=tmp_path / "step-4")
    assert last.reason == "max_minutes"
    assert last.step < 9


def test_stopping_saves_nothing_by_itself(corpus: CorpusExamples) -> None:
    *history, last = events(generation(), corpus, Scripted(stop_at=3))
    assert last == Stopped(3)
    assert not any(isinstance(event, CheckpointDue) for event in history)


def test_a_loss_that_is_not_finite_stops_before_the_update(
    corpus: CorpusExamples, tmp_path: Path
) -> None:
    config = generation(optimizer="sgd", learning_rate=10.0, gradient_clip_norm=None).model_copy(
        update={"architecture": generation().architecture.model_copy(update={"cell": "rnn_relu"})}
    )

    def save_all() -> None:
        for event in events(config, corpus, Scripted(set(range(1000)))):
            if isinstance(event, CheckpointDue):
                event.save(tmp_path / f"{event.step:03}")

    with pytest.raises(DivergedError, match=r"step \d+: the .*loss is"):
        save_all()
    last = read(max(tmp_path.iterdir()), "checkpoint")
    assert all(tensor.isfinite().all() for tensor in last.tensors.values())


def test_values_that_overflow_the_loss_are_reported_as_divergence(
    series: SeriesExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "rnn.forecasting.distributions.forecast_loss", lambda outputs, *_: outputs.sum() * np.inf
    )
    with pytest.raises(DivergedError, match="step 1: the loss is"):
        list(events(forecasting(max_rollbacks=0), series))


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
def test_every_optimizer_resumes_bit_for_bit(
    optimizer: str, corpus: CorpusExamples, tmp_path: Path
) -> None:
    config = generation(optimizer=optimizer, max_epochs=2, l1_penalty=1e-4)
    expected = weights_hash(finished(config, corpus), tmp_path / "whole")
    for event in events(config, corpus, Scripted({5}, 5)):
        if isinstance(event, CheckpointDue):
            event.save(tmp_path / "step-5")
    resumed = finished(config, corpus, resume=tmp_path / "step-5")
    assert weights_hash(resumed, tmp_path / "resumed") == expected


def test_a_checkpoint_of_another_configuration_is_refused(
    corpus: CorpusExamples, tmp_path: Path
) -> None:
    for event in events(generation(), corpus, Scripted({2}, 2)):
        if isinstance(event, CheckpointDue):
            event.save(tmp_path / "step-2")
    with pytest.raises(CheckpointError, match="another configuration"):
        list(events(generation(seed=1), corpus, resume=tmp_path / "step-2"))


def test_a_checkpoint_of_other_examples_is_refused(sentences: TextExamples, tmp_path: Path) -> None:
    for event in events(classification(), sentences, Scripted({2}, 2)):
        if isinstance(event, CheckpointDue):
            event.save(tmp_path / "step-2")
    others = TextExamples(["one word", "two words"] * 10, ["a", "b"] * 10, None)
    with pytest.raises(CheckpointError, match="does not fit"):
        list(events(classification(), others, resume=tmp_path / "step-2"))


@pytest.mark.parametrize("task", TASKS)
def test_a_checkpoint_of_another_kind_of_device_is_resumed(
    task: str,
    cases: dict[str, tuple[TaskConfig, Examples]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The 16 bytes of a CUDA generator once made a CPU's refuse the checkpoint, and the job failed
    for good where only its worker had changed."""
    of_a_gpu = torch.arange(16, dtype=torch.uint8)
    config, examples = cases[task]
    with monkeypatch.context() as on_gpu:
        own = Randomness.state_tensors
        on_gpu.setattr(Randomness, "state_tensors", lambda self: {**own(self), "dropout": of_a_gpu})
        for event in events(config, examples, Scripted({2}, 2)):
            if isinstance(event, CheckpointDue):
                event.save(tmp_path / "step-2")
    assert torch.equal(read(tmp_path / "step-2", "checkpoint").tensors["random:dropout"], of_a_gpu)
    started, *_, last = events(config, examples, resume=tmp_path / "step-2")
    assert isinstance(started, Started)
    assert started.first_step == 2
    assert isinstance(last, Finished)


def test_examples_of_another_kind_are_named(corpus: CorpusExamples) -> None:
    with pytest.raises(ConfigError, match="CorpusExamples"):
        list(events(classification(), corpus))


def test_series_without_a_window_are_refused(series: SeriesExamples) -> None:
    short = SeriesExamples(["a"], [np.arange(8.0)], [None], None)
    with pytest.raises(DataTooSmallError, match="9 timesteps"):
        list(events(forecasting(), short))


def test_events_tell_positions_rates_and_epochs(corpus: CorpusExamples) -> None:
    started, *rest = events(generation(schedule="constant", warmup_fraction=0), corpus)
    steps = [event for event in rest if isinstance(event, StepDone)]
    assert isinstance(started, Started)
    assert [event.step for event in steps] == list(range(1, started.total_steps + 1))
    assert {event.learning_rate for event in steps} == {0.02}
    assert steps[-1].epoch == 4
    assert steps[0].timesteps == 4 * 30


def test_timesteps_of_a_forecaster_count_whole_windows(series: SeriesExamples) -> None:
    """The event once said that pads were excluded, and counted them: a recurrence reads them."""
    gaps = [np.where(np.arange(len(values)) % 3, values, np.nan) for values in series.values]
    examples = SeriesExamples(series.ids, gaps, series.starts, series.frequency)
    steps = [event for event in events(forecasting(), examples) if isinstance(event, StepDone)]
    assert {event.timesteps for event in steps} == {16 * 16}


@pytest.mark.parametrize("task", TASKS)
def test_max_steps_alone_is_reached(
    task: str, series: SeriesExamples, sentences: TextExamples, corpus: CorpusExamples
) -> None:
    """An epoch limit that nobody had set once ended such a job early, with reason max_epochs. The
    corpus fills one step an epoch where its size alone promises two."""
    lengths = [len(values) for values in series.values]
    of_series = {
        "series": len(lengths),
        "points": sum(lengths),
        "min_length": min(lengths),
        "median_length": 68,
        "max_length": max(lengths),
    }
    of_labels = {"counts": {"good": 30, "bad": 30}, "splits": None}
    of_text = {"bytes": len(corpus.data)}
    training = {"max_epochs": None, "max_steps": 130, "early_stopping_patience": None}
    cases: dict[str, tuple[TaskConfig, Examples]] = {
        "forecasting": (forecasting(windows_per_epoch=16, **training), series),
        "classification": (classification(batch_size=48, **training), sentences),
        "generation": (generation(bptt_length=300, **training), corpus),
    }
    config, examples = cases[task]
    profile = {"series": of_series, "labels": of_labels, "text": of_text}
    last = finished(resolve(config, profile), examples)
    assert (last.reason, last.step) == ("max_steps", 130)


def test_saving_twice_gives_equal_bytes(corpus: CorpusExamples, tmp_path: Path) -> None:
    last = finished(generation(max_steps=3), corpus)
    last.save(tmp_path / "a")
    last.save(tmp_path / "b")
    assert manifest_sha256(tmp_path / "a") == manifest_sha256(tmp_path / "b")
