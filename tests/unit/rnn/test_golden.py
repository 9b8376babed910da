"""Checkpoints and models that older programs wrote are read, answer as they did, and go on.

The folders of `tests/golden` are of format_version 1, from before there were other cells, averages
and rollbacks. They were computed by torch alone, so that is what reads them here.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnn.checkpoint import load_model, read
from rnn.classification.predictor import Classifier
from rnn.data.examples import CorpusExamples, Examples, SeriesExamples, TextExamples
from rnn.events import Finished, Started
from rnn.forecasting.predictor import Forecaster
from rnn.generation.predictor import Generator
from rnn.kernels import library
from tests.unit.rnn.trainings import events

GOLDEN = Path(__file__).parents[2] / "golden"
TASKS = ["forecasting", "classification", "generation"]


@pytest.fixture(autouse=True)
def torch_alone() -> Iterator[None]:
    library.select("off")
    yield
    library.select("auto")


def expected(task: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((GOLDEN / task / "expected.json").read_text())
    return document


def examples_of(task: str) -> Examples:
    given = expected(task)["examples"]
    match task:
        case "forecasting":
            values = [np.array(row, dtype=np.float64) for row in given["values"]]
            return SeriesExamples(given["ids"], values, [None] * len(values), None)
        case "classification":
            return TextExamples(given["texts"], given["labels"], None)
        case _:
            return CorpusExamples(np.frombuffer(given["text"].encode(), dtype=np.uint8))


def test_a_forecaster_answers_as_it_did() -> None:
    model = load_model(GOLDEN / "forecasting" / "model")
    examples = examples_of("forecasting")
    assert isinstance(model, Forecaster)
    assert isinstance(examples, SeriesExamples)
    result = model.forecast(examples.values, 3, [0.1, 0.5, 0.9])
    answers = expected("forecasting")["answers"]
    np.testing.assert_allclose(result.mean_bt, answers["mean"], rtol=1e-5)
    np.testing.assert_allclose(result.quantiles_bqt, answers["quantiles"], rtol=1e-5)


def test_a_classifier_answers_as_it_did() -> None:
    model = load_model(GOLDEN / "classification" / "model")
    examples = examples_of("classification")
    assert isinstance(model, Classifier)
    assert isinstance(examples, TextExamples)
    result = model.classify([*examples.texts[:4], "an unknown word lovely"])
    answers = expected("classification")["answers"]
    assert model.labels == answers["labels"]
    np.testing.assert_allclose(result.probabilities_bc, answers["probabilities"], rtol=1e-5)


def test_a_generator_answers_as_it_did() -> None:
    model = load_model(GOLDEN / "generation" / "model")
    assert isinstance(model, Generator)
    logits_v, state = model.prefill(list(b"to plough and"), model.initial_state(1))
    next_bv, _ = model.step(torch.tensor([ord(" ")]), state)
    answers = expected("generation")["answers"]
    letters = slice(96, 123)
    np.testing.assert_allclose(logits_v[letters].numpy(), answers["scores"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        next_bv[0, letters].numpy(), answers["next_scores"], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("task", TASKS)
def test_an_old_checkpoint_is_resumed_to_its_end(task: str) -> None:
    """Not to the same bits: today's networks draw other masks."""
    folder, known = GOLDEN / task / "checkpoint", expected(task)
    config = read(folder, "checkpoint").config
    started, *_, last = events(config, examples_of(task), resume=folder)
    assert isinstance(started, Started)
    assert started.first_step == known["checkpoint_step"]
    assert isinstance(last, Finished)
    assert (last.step, last.reason) == (known["finished"]["step"], known["finished"]["reason"])
    loss = "loss_nats" if task == "generation" else "loss"
    assert last.metrics[loss] == pytest.approx(known["finished"]["metrics"][loss], rel=0.05)
