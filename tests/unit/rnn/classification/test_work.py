"""A classifier's training: calibration at its end, smoothed targets, what is kept of long texts,
texts in other tokens than words."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnn.checkpoint import Content, load_model, make_predictor, read, write
from rnn.classification.predictor import Classifier
from rnn.classification.work import ClassificationWork
from rnn.config import ClassificationConfig
from rnn.data.examples import TextExamples
from rnn.determinism import Randomness
from rnn.events import CheckpointDue, Evaluated, Finished
from rnn.train import train
from tests.unit.rnn.trainings import Scripted, events, finished, weights_hash

CPU = torch.device("cpu")


class Patient:
    """A training that nobody interrupts."""

    def elapsed_seconds(self) -> float:
        return 0.0

    def should_checkpoint(self) -> bool:
        return False

    def should_stop(self) -> bool:
        return False


def configured(**parts: dict[str, Any]) -> ClassificationConfig:
    return ClassificationConfig.model_validate(
        {
            "task": "text-classification",
            "architecture": {
                "hidden_size": 6,
                "embedding_size": 6,
                **parts.get("architecture", {}),
            },
            "training": {
                "max_epochs": 4,
                "batch_size": 8,
                "learning_rate": 0.02,
                **parts.get("training", {}),
            },
            "data": {"validation_fraction": 0.2, "min_frequency": 1, **parts.get("data", {})},
            "serving": {"precision": "float32"},
        }
    )


def with_splits(sentences: TextExamples) -> TextExamples:
    splits = ["train"] * 30 + ["validation"] * 15 + ["test"] * 15
    return TextExamples(sentences.texts, sentences.labels, splits)


def test_the_temperature_is_fitted_at_the_end_and_served(
    sentences: TextExamples, tmp_path: Path
) -> None:
    examples = with_splits(sentences)
    events = list(train(configured(), examples, device="cpu", control=Patient(), resume=None))
    last = events[-1]
    assert isinstance(last, Finished)
    evaluated = [event for event in events if isinstance(event, Evaluated)]
    best = min(evaluated, key=lambda event: event.metrics["loss"])
    assert not any("temperature" in event.metrics for event in evaluated)
    assert last.metrics["calibration_error_unscaled"] == best.metrics["calibration_error"]
    assert last.metrics["accuracy"] == best.metrics["accuracy"]
    assert {"test_calibration_error", "test_calibration_error_unscaled"} <= set(last.metrics)
    last.save(tmp_path / "model")
    content = read(tmp_path / "model", "model")
    temperature = content.values["temperature"]
    assert temperature == last.metrics["temperature"] != 1
    model = load_model(tmp_path / "model")
    assert isinstance(model, Classifier)
    found = torch.from_numpy(model.classify(examples.texts[45:]).probabilities_bc)
    own_b = torch.tensor([model.labels.index(label) for label in examples.labels[45:]])
    loss = float(-found.gather(1, own_b[:, None]).log().mean())
    assert loss == pytest.approx(last.metrics["test_loss"], abs=1e-5)


def test_a_model_from_before_calibration_has_a_temperature_of_1(
    sentences: TextExamples, tmp_path: Path
) -> None:
    *_, last = train(configured(), sentences, device="cpu", control=Patient(), resume=None)
    assert isinstance(last, Finished)
    last.save(tmp_path / "new")
    content = read(tmp_path / "new", "model")
    write(tmp_path / "old", replace(content, values={"labels": content.values["labels"]}))
    new, old = load_model(tmp_path / "new"), load_model(tmp_path / "old")
    assert isinstance(new, Classifier)
    assert isinstance(old, Classifier)
    scaled_bc, plain_bc = (model.classify(sentences.texts).probabilities_bc for model in (new, old))
    power_bc = plain_bc ** (1 / content.values["temperature"])
    np.testing.assert_allclose(scaled_bc, power_bc / power_bc.sum(axis=1, keepdims=True))


def test_smoothed_targets_give_every_label_a_share(sentences: TextExamples) -> None:
    losses = {}
    for smoothing in (0.0, 0.4, 0.8):
        architecture = {"input_dropout": 0.0, "output_dropout": 0.0, "dropout": 0.0}
        config = configured(training={"label_smoothing": smoothing}, architecture=architecture)
        work = ClassificationWork(config, sentences, CPU, Randomness(0, CPU))
        batch = work.batch(0, 0)
        losses[smoothing] = batch.loss(slice(0, batch.rows)).loss.detach()
    torch.testing.assert_close(losses[0.4] - losses[0.0], losses[0.8] - losses[0.4])
    assert losses[0.4] != losses[0.0]


def test_the_end_of_long_texts_can_be_kept() -> None:
    """The label is told by the last word alone."""
    texts = [f"{'so it goes on and on ' * 3}{word}" for word in ("good", "bad") * 20]
    examples = TextExamples(texts, ["yes", "no"] * 20, None)
    accuracy = {}
    for truncation in ("start", "both"):
        config = configured(
            data={"max_tokens": 4, "truncation": truncation}, training={"max_epochs": 8}
        )
        *_, last = train(config, examples, device="cpu", control=Patient(), resume=None)
        assert isinstance(last, Finished)
        accuracy[truncation] = last.metrics["accuracy"]
    assert accuracy == {"start": 0.5, "both": 1.0}


def chinese() -> TextExamples:
    """No two texts are alike, and none has a space; two characters together tell the label."""
    random = np.random.default_rng(0)
    texts, labels = [], []
    for number in range(160):
        around = "".join(random.choice(list("今天我们去电影院里人多路远雨大"), size=8))
        place = int(random.integers(9))
        texts.append(f"{around[:place]}{('喜欢', '讨厌')[number % 2]}{around[place:]}")
        labels.append(("positive", "negative")[number % 2])
    return TextExamples(texts, labels, ["train"] * 120 + ["validation"] * 40)


@pytest.mark.parametrize("tokenizer", ["character", "byte", "bpe"])
def test_a_script_without_spaces_is_learned(tokenizer: str, tmp_path: Path) -> None:
    examples = chinese()
    config = configured(
        data={"tokenizer": tokenizer, "min_frequency": 2, "vocabulary_size": 300},
        training={"max_epochs": 12},
        architecture={"dropout": 0.1, "hidden_size": 12},
    )
    *_, last = train(config, examples, device="cpu", control=Patient(), resume=None)
    assert isinstance(last, Finished)
    assert last.metrics["accuracy"] > 0.95
    last.save(tmp_path / "model")
    model = load_model(tmp_path / "model")
    assert isinstance(model, Classifier)
    found = model.classify(examples.texts[120:])
    names = [model.labels[best] for best in found.probabilities_bc.argmax(axis=1)]
    right = np.mean([a == b for a, b in zip(names, examples.labels[120:], strict=True)])
    assert right == last.metrics["accuracy"]
    assert found.known_share == [1.0] * 40


def test_in_words_it_is_not_learned() -> None:
    """A held-out text is one unknown word."""
    config = configured(training={"max_epochs": 12}, architecture={"dropout": 0.1})
    *_, last = train(config, chinese(), device="cpu", control=Patient(), resume=None)
    assert isinstance(last, Finished)
    assert last.metrics["accuracy"] == 0.5


@pytest.mark.parametrize("tokenizer", ["word", "character", "byte", "bpe"])
def test_a_saved_model_reads_the_same_tokens(
    tokenizer: str, sentences: TextExamples, tmp_path: Path
) -> None:
    """And so does one that starts from it."""
    config = configured(data={"tokenizer": tokenizer})
    work = ClassificationWork(config, sentences, CPU, Randomness(0, CPU))
    values, saved = work.model_parts().values, work.model_parts().tokenizer
    content = Content("model", config, values, work.network.state_dict(), saved)
    write(tmp_path / "model", content)
    own, loaded = make_predictor(content), load_model(tmp_path / "model")
    assert isinstance(own, Classifier)
    assert isinstance(loaded, Classifier)
    texts = [*sentences.texts, "", "雪 snow!"]
    assert loaded.encode(texts) == own.encode(texts)
    np.testing.assert_array_equal(
        loaded.classify(texts).probabilities_bc, own.classify(texts).probabilities_bc
    )
    base = read(tmp_path / "model", "model")
    tuned = ClassificationWork(config, sentences, CPU, Randomness(1, CPU), base)
    assert tuned.model_parts().values == values
    assert tuned.evaluate() == work.evaluate()


@pytest.mark.parametrize("tokenizer", ["character", "bpe"])
def test_a_training_that_goes_on_reads_the_same_tokens(
    tokenizer: str, sentences: TextExamples, tmp_path: Path
) -> None:
    config = configured(data={"tokenizer": tokenizer})
    for event in events(config, sentences, Scripted({5}, 5)):
        if isinstance(event, CheckpointDue):
            event.save(tmp_path / "checkpoint")
    resumed = finished(config, sentences, resume=tmp_path / "checkpoint")
    whole = finished(config, sentences)
    assert resumed.metrics == whole.metrics
    assert weights_hash(resumed, tmp_path / "a") == weights_hash(whole, tmp_path / "b")
