"""Trainings that start from an existing network: language model to classifier, and fine-tuning."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from rnn.checkpoint import Content, load_model, read
from rnn.classification.predictor import Classifier
from rnn.classification.work import ClassificationWork
from rnn.config import TaskConfig
from rnn.data.examples import CorpusExamples, Examples, SeriesExamples, TextExamples
from rnn.determinism import Randomness
from rnn.errors import CheckpointError
from rnn.events import CheckpointDue, Finished, StepDone, Stopped
from rnn.inherit import inherit
from rnn.probe import Probe
from rnn.resolve import resolve
from rnn.tasks import prepare
from rnn.train import train
from rnn.transfer import take_weights

CONFIGS: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)
CPU = torch.device("cpu")


class Script:
    """Checkpoints and stops after given steps."""

    def __init__(self, checkpoint_at: int | None = None) -> None:
        self.checkpoint_at = checkpoint_at
        self.step = 0

    def elapsed_seconds(self) -> float:
        return 0.0

    def should_checkpoint(self) -> bool:
        return self.step == self.checkpoint_at

    def should_stop(self) -> bool:
        return self.step == self.checkpoint_at


def generation(**data: Any) -> TaskConfig:
    return CONFIGS.validate_python(
        {
            "task": "text-generation",
            "architecture": {"hidden_size": 8, "num_layers": 2, "embedding_size": 6},
            "training": {"max_steps": 6, "max_epochs": 6, "batch_size": 4, "bptt_length": 16},
            "data": data,
        }
    )


def classification(**training: Any) -> TaskConfig:
    return CONFIGS.validate_python(
        {
            "task": "text-classification",
            "training": {"max_epochs": 2, "batch_size": 8, "learning_rate": 0.01, **training},
            "data": {"validation_fraction": 0.2},
        }
    )


def run(
    config: TaskConfig,
    examples: Examples,
    folder: Path,
    *,
    base: Path | None = None,
    stop_at: int | None = None,
    resume: Path | None = None,
) -> None:
    """Trains to the end, or to a checkpoint, which lies in the folder afterwards."""
    control = Script(stop_at)
    for event in train(config, examples, device="cpu", control=control, resume=resume, base=base):
        match event:
            case StepDone():
                control.step = event.step
            case CheckpointDue() | Finished():
                event.save(folder)
            case Stopped():
                return


@pytest.fixture(params=["byte", "character", "word", "bpe"])
def language_model(request: pytest.FixtureRequest, corpus: CorpusExamples, tmp_path: Path) -> Path:
    vocabulary = {} if request.param == "byte" else {"vocabulary_size": 300}
    run(generation(tokenizer=request.param, **vocabulary), corpus, tmp_path / "language")
    return tmp_path / "language"


def started(config: TaskConfig, examples: Examples, base: Content) -> Mapping[str, Tensor]:
    """The weights that a training begins with."""
    work = prepare(config, examples, CPU, Randomness(1, CPU), base=base)
    return work.network.state_dict()


def test_a_language_model_becomes_a_classifier(
    language_model: Path, sentences: TextExamples, tmp_path: Path
) -> None:
    base = read(language_model, "model")
    config = inherit(classification(), base.config)
    weights = started(config, sentences, base)
    taken = [name for name in weights if not name.startswith("head.")]
    assert "embedding.weight" in taken
    assert sum(name.startswith("stack.layers.1.") for name in taken) > 1
    for name in taken:
        assert torch.equal(weights[name], base.tensors[name]), name
    run(config, sentences, tmp_path / "model", base=language_model)
    classifier = load_model(tmp_path / "model")
    assert isinstance(classifier, Classifier)
    found = classifier.classify(["the film was lovely", ""])
    np.testing.assert_allclose(found.probabilities_bc.sum(axis=1), 1)


def test_a_classifier_of_the_same_labels_goes_on_whole(
    sentences: TextExamples, tmp_path: Path
) -> None:
    run(resolved(classification(), sentences), sentences, tmp_path / "first")
    base = read(tmp_path / "first", "model")
    fewer = TextExamples(sentences.texts[:20], sentences.labels[:20], None)
    config = inherit(classification(), base.config)
    weights = started(config, fewer, base)
    assert weights.keys() == base.tensors.keys()
    assert all(torch.equal(weights[name], base.tensors[name]) for name in weights)
    others = TextExamples(
        sentences.texts, ["yes" if label == "good" else "no" for label in sentences.labels], None
    )
    weights = started(config, others, base)
    changed = {name for name in weights if not torch.equal(weights[name], base.tensors[name])}
    assert changed == {name for name in weights if name.startswith("head.")}


def test_a_classifier_made_of_a_language_model_is_a_base_too(
    language_model: Path, sentences: TextExamples, tmp_path: Path
) -> None:
    first = inherit(classification(), read(language_model, "model").config)
    run(first, sentences, tmp_path / "first", base=language_model)
    base = read(tmp_path / "first", "model")
    weights = started(inherit(classification(), base.config), sentences, base)
    assert all(torch.equal(weights[name], base.tensors[name]) for name in weights)


def test_a_language_model_goes_on_with_its_own_tokens(language_model: Path, tmp_path: Path) -> None:
    """On a text of other words, of which it learns no token."""
    base = read(language_model, "model")
    other = np.frombuffer(b"zebras quiz vexed jocks, and so it goes.\n" * 40, dtype=np.uint8)
    config = inherit(
        CONFIGS.validate_python({**generation().model_dump(), "architecture": {}, "data": {}}),
        base.config,
    )
    weights = started(config, CorpusExamples(other), base)
    assert all(torch.equal(weights[name], base.tensors[name]) for name in weights)
    run(config, CorpusExamples(other), tmp_path / "on", base=language_model)
    assert load_model(tmp_path / "on")


def test_a_forecaster_goes_on(series: SeriesExamples, tmp_path: Path) -> None:
    own = CONFIGS.validate_python(
        {
            "task": "time-series-forecasting",
            "architecture": {"hidden_size": 8},
            "training": {"max_epochs": 1, "batch_size": 16, "windows_per_epoch": 32},
            "data": {"horizon": 4, "context_length": 16, "season_length": 8},
        }
    )
    run(own, series, tmp_path / "first")
    base = read(tmp_path / "first", "model")
    later = CONFIGS.validate_python(
        {"task": own.task, "training": {"max_epochs": 1, "windows_per_epoch": 32}}
    )
    weights = started(inherit(later, base.config), series, base)
    assert all(torch.equal(weights[name], base.tensors[name]) for name in weights)


def test_a_stopped_training_resumes_with_the_bases_tokens(
    corpus: CorpusExamples, sentences: TextExamples, tmp_path: Path
) -> None:
    run(generation(tokenizer="word", vocabulary_size=300), corpus, tmp_path / "base")
    base = tmp_path / "base"
    config = inherit(classification(), read(base, "model").config)
    run(config, sentences, tmp_path / "whole", base=base)
    run(config, sentences, tmp_path / "stopped", base=base, stop_at=7)
    run(config, sentences, tmp_path / "resumed", base=base, resume=tmp_path / "stopped")
    whole, resumed = read(tmp_path / "whole", "model"), read(tmp_path / "resumed", "model")
    assert all(torch.equal(whole.tensors[name], resumed.tensors[name]) for name in whole.tensors)
    assert whole.values == resumed.values


def test_weights_of_another_shape_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"weight has the shape \(3, 2\), not \(2, 2\)"):
        take_weights(torch.nn.Linear(2, 2), torch.nn.Linear(2, 3).state_dict())
    with pytest.raises(CheckpointError, match="bias is not there"):
        take_weights(torch.nn.Linear(2, 2), {"weight": torch.zeros(2, 2)})


def test_layer_groups_hold_every_parameter_once_from_the_input_up(
    sentences: TextExamples,
) -> None:
    architecture = {
        "hidden_size": 6,
        "num_layers": 2,
        "pre_norm": True,
        "pooling": "attention",
        "convolution": {"channels": 4},
    }
    config = CONFIGS.validate_python(
        {
            "task": "text-classification",
            "architecture": architecture,
            "training": {"batch_size": 8},
            "data": {"validation_fraction": 0.2},
        }
    )
    work = prepare(config, sentences, CPU, Randomness(0, CPU))
    names = {id(parameter): name for name, parameter in work.network.named_parameters()}
    groups = [{names[id(p)] for p in group} for group in work.layer_groups()]
    assert len(groups) == 4
    assert sum(map(len, groups)) == len(names)
    assert {name.split(".")[0] for name in groups[0]} == {"embedding", "convolution"}
    assert all(name.startswith("stack.") for group in groups[1:3] for name in group)
    assert {name.split(".")[0] for name in groups[3]} == {"head"}


def test_the_probed_loss_is_that_of_the_longest_texts(sentences: TextExamples) -> None:
    config = resolved(classification(), sentences)
    randomness = Randomness(0, CPU)
    work = ClassificationWork(config, sentences, CPU, randomness)
    before = randomness.dropout.get_state()
    probe = Probe([1, 4])
    loss = work.probe_loss(probe)
    torch.testing.assert_close(loss, work.probe_loss(Probe([2])))
    assert torch.equal(randomness.dropout.get_state(), before)
    norms = probe.gradient_norms(loss)
    assert set(norms) == {0}
    assert set(norms[0]) == {1, 4}
    assert all(norm > 0 for norm in norms[0].values())


def resolved(config: TaskConfig, examples: TextExamples) -> Any:
    counts = {label: examples.labels.count(label) for label in set(examples.labels)}
    return resolve(config, {"labels": {"counts": counts, "splits": None, "median_tokens": 9}})
