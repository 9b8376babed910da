"""What a network answers while it learns, which the training does not notice."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnn.checkpoint import read
from rnn.config import TaskConfig
from rnn.data.examples import CorpusExamples, Examples, SeriesExamples, TextExamples
from rnn.determinism import Randomness
from rnn.events import Evaluated, Event, Finished, Sampled, StepDone
from rnn.forecasting.work import ForecastingWork
from rnn.generation.corpus import read_corpus
from rnn.kernels import library
from rnn.samples import MOST_CHARACTERS, MOST_TIME, ContinuedText, SampleTimes, shortened
from rnn.tasks import prepare
from rnn.train import train
from rnn.work import Work
from tests.unit.rnn.trainings import (
    Scripted,
    Still,
    classification,
    events,
    forecasting,
    generation,
    weights_hash,
)

Case = tuple[Any, Examples]


def with_architecture(config: TaskConfig, **choices: Any) -> TaskConfig:
    document = config.model_dump(mode="json")
    document["architecture"] |= choices
    return type(config).model_validate(document)


def run(config: TaskConfig, examples: Examples) -> tuple[Finished, list[Event]]:
    *history, last = events(config, examples, Still())
    assert isinstance(last, Finished)
    return last, history


def sampled(history: list[Event]) -> list[Sampled]:
    return [event for event in history if isinstance(event, Sampled)]


def prepared(config: TaskConfig, examples: Examples) -> Work:
    randomness = Randomness(config.training.seed, torch.device("cpu"))
    return prepare(config, examples, torch.device("cpu"), randomness)


@pytest.mark.parametrize("kernels", ["auto", "off"])
@pytest.mark.parametrize("averaging", ["none", "exponential"])
def test_a_training_is_the_same_with_and_without_samples(
    kernels: str, averaging: str, case: Case, tmp_path: Path
) -> None:
    make, examples = case
    library.select(kernels)
    try:
        (blind, silent), (seen, told) = (
            run(make(samples=wanted, averaging=averaging, activation_penalty=0.1), examples)
            for wanted in (False, True)
        )
    finally:
        library.select("auto")
    evaluated = [event.step for event in told if isinstance(event, Evaluated)]
    assert [event.step for event in sampled(told)] == evaluated
    assert [event for event in told if not isinstance(event, Sampled)] == silent
    assert weights_hash(seen, tmp_path / "a") == weights_hash(blind, tmp_path / "b")


@pytest.mark.parametrize(
    "choices", [{"distribution": "point"}, {"decoding": "recursive", "distribution": "student_t"}]
)
def test_so_is_one_of_another_head(
    choices: dict[str, str], series: SeriesExamples, tmp_path: Path
) -> None:
    (blind, _), (seen, told) = (
        run(with_architecture(forecasting(samples=wanted), **choices), series)
        for wanted in (False, True)
    )
    assert weights_hash(seen, tmp_path / "a") == weights_hash(blind, tmp_path / "b")
    levels = {
        level for event in sampled(told) for each in event.samples for level in each.quantiles
    }
    assert bool(levels) == (choices["distribution"] != "point")


def test_averaged_weights_answer_where_they_are_judged(case: Case, tmp_path: Path) -> None:
    make, examples = case
    config = make(averaging="exponential")
    last, history = run(config, examples)
    best = [event.step for event in history if isinstance(event, Evaluated) and event.improved][-1]
    last.save(tmp_path / "model")
    work = prepared(config, examples)
    work.network.load_state_dict(read(tmp_path / "model", "model").tensors)
    [told] = [event for event in sampled(history) if event.step == best]
    assert repr(list(told.samples)) == repr(list(work.samples()))


def test_a_sample_draws_nothing_and_leaves_the_carried_state_alone(case: Case) -> None:
    make, examples = case
    work = prepared(make(), examples)
    generator = work.network.get_submodule("stack").dropout.generator
    work.batch(0, 0).loss(slice(0, work.batch(0, 0).rows))
    before, carried = generator.get_state(), work.carried_state()
    first, second = work.samples(), work.samples()
    assert repr(first) == repr(second)
    assert torch.equal(generator.get_state(), before)
    for name, tensor in work.carried_state().items():
        assert tensor is carried[name]
    assert all(parameter.grad is None for parameter in work.network.parameters())


def test_a_forecast_stands_between_its_history_and_what_came(series: SeriesExamples) -> None:
    samples = prepared(forecasting(), series).samples()
    assert len(samples) == 4
    for sample in samples:
        values = series.values[series.ids.index(sample.series)]
        assert sample.position == len(values) - 4
        np.testing.assert_array_equal(sample.history, values[:-4])
        np.testing.assert_array_equal(sample.truth, values[-4:])
        assert list(sample.quantiles) == [0.025, 0.1, 0.5, 0.9, 0.975]
        assert (np.diff(np.array(list(sample.quantiles.values())), axis=0) >= 0).all()
        assert len(sample.mean) == 4


def test_long_series_and_horizons_are_cut() -> None:
    values = 10 + np.sin(np.arange(2_000) / 5)
    document = forecasting().model_dump(mode="json")
    document["data"] |= {"horizon": 300, "context_length": 400}
    config = type(forecasting()).model_validate(document)
    [sample] = prepared(config, SeriesExamples(["x" * 2_000], [values], [None], "1h")).samples()
    assert sample.position == 1_700
    assert list(sample.history) == list(values[1_580:1_700])
    assert len(sample.truth) == len(sample.mean) == 120
    assert {len(row) for row in sample.quantiles.values()} == {120}
    assert len(sample.series) == MOST_CHARACTERS


def test_the_held_out_text_is_gone_on_with(corpus: CorpusExamples) -> None:
    config = generation()
    work = prepared(config, corpus)
    [sample] = work.samples()
    first = read_corpus(corpus, config).validation.first
    held_out = bytes(corpus.data[first : first + 64]).decode(errors="replace")
    assert held_out.startswith(sample.prompt)
    assert len(sample.prompt) > 50
    assert 0 < len(sample.text) <= 160
    with torch.no_grad():
        for parameter in work.network.parameters():
            parameter.fill_(math.nan)
    assert work.samples() == [ContinuedText(sample.prompt, "")]


def test_held_out_texts_have_their_labels_and_scores(sentences: TextExamples) -> None:
    samples = prepared(classification(), sentences).samples()
    assert len(samples) == 8
    labels = dict(zip(sentences.texts, sentences.labels, strict=True))
    for sample in samples:
        assert sample.label == labels[sample.text]
        assert sample.prediction in ("good", "bad")
        assert 0.5 <= sample.score <= 1


def test_a_long_text_is_cut() -> None:
    assert shortened("x" * MOST_CHARACTERS) == "x" * MOST_CHARACTERS
    assert shortened("x" * (MOST_CHARACTERS + 1)) == "x" * (MOST_CHARACTERS - 1) + "…"


def test_the_more_evaluations_there_were_the_rarer_samples_are() -> None:
    times = SampleTimes(wanted=True)
    due = [number for number in range(1, 129) if times.due(number)]
    assert due[:16] == list(range(1, 17))
    assert due[16:] == [*range(18, 33, 2), *range(36, 65, 4), *range(72, 129, 8)]
    most = sum(times.due(number) for number in range(1, 2**20 + 1))
    assert most == 16 + 8 * 16
    assert not any(SampleTimes(wanted=False).due(number) for number in range(1, 20))


def test_samples_are_taken_only_where_their_time_is_earned() -> None:
    times = SampleTimes(wanted=True)
    spent, seconds, samples = 0.0, 0.0, 0
    for step in range(1, 5_001):
        seconds += 0.5
        if times.earned(step, seconds):
            samples += 1
            seconds += 3.0
            spent += 3.0
            times.spent(3.0)
        # But for the first, whose time nobody knew.
        assert samples <= 1 or spent <= MOST_TIME * seconds
    assert 7 <= samples <= 9


class SlowSamples(Scripted):
    """A step takes a second, a sample too."""

    samples = 0

    def elapsed_seconds(self) -> float:
        return float(1 + self.step + self.samples)


def test_a_training_spends_no_more_on_samples_than_it_may(
    series: SeriesExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = SlowSamples()
    answered = ForecastingWork.samples

    def slow(work: ForecastingWork) -> Any:
        control.samples += 1
        return answered(work)

    monkeypatch.setattr(ForecastingWork, "samples", slow)
    config = forecasting(max_epochs=100, early_stopping_patience=None)
    told = 0
    for event in train(config, series, device="cpu", control=control, resume=None):
        if isinstance(event, StepDone):
            control.step = event.step
        if isinstance(event, Sampled):
            told += 1
            assert control.samples <= MOST_TIME * control.elapsed_seconds()
    assert told == control.samples
    assert 3 <= told <= 4


def test_a_sample_for_which_the_memory_is_not_enough_is_left_out(
    series: SeriesExamples, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_all, _ = run(forecasting(), series)

    def short(_: ForecastingWork) -> Any:
        raise MemoryError

    monkeypatch.setattr(ForecastingWork, "samples", short)
    without, history = run(forecasting(), series)
    assert sampled(history) == []
    assert weights_hash(without, tmp_path / "a") == weights_hash(with_all, tmp_path / "b")
