"""Trainings of tiny language models of words and of pieces of words, as a job runs them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnn.checkpoint import load_model, read
from rnn.data.examples import CorpusExamples
from rnn.determinism import Randomness
from rnn.errors import DataTooSmallError
from rnn.events import CheckpointDue, Evaluated, Finished, StepDone
from rnn.generation.predictor import Generator
from rnn.generation.sampling import SamplingSettings, make_sampler
from rnn.generation.work import GenerationWork
from rnn.probe import Probe
from tests.unit.rnn.generation.cases import CPU, HEADS, config
from tests.unit.rnn.trainings import Scripted, events, finished, weights_hash

LINE = "to plough and sow , to reap and mow , and be a farmer's boy — so it goes .\n"
CORPUS = CorpusExamples(np.frombuffer((LINE * 60).encode(), dtype=np.uint8))


def work(architecture: dict[str, Any] | None = None, **options: Any) -> GenerationWork:
    return GenerationWork(config(architecture, **options), CORPUS, CPU, Randomness(0, CPU))


@pytest.mark.parametrize(
    ("tokenizer", "architecture"),
    [
        ("word", {"tied": True, "embedding_dropout": 0.1, "input_dropout": 0.1}),
        ("bpe", {"softmax": "adaptive"}),
        ("character", {"softmax": "mixture", "mixture_components": 2, "tied": True}),
    ],
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_interrupted_training_ends_with_the_very_weights(
    tokenizer: str, architecture: dict[str, Any], precision: str, tmp_path: Path
) -> None:
    data = {"tokenizer": tokenizer, "test_fraction": 0.1}
    chosen = config(architecture, data, random_bptt=True, max_epochs=2, precision=precision)
    *history, last = events(chosen, CORPUS)
    assert isinstance(last, Finished)
    expected = weights_hash(last, tmp_path / "whole")
    steps = [event for event in history if isinstance(event, StepDone)]
    assert len({event.timesteps for event in steps}) > 3

    random = np.random.default_rng(0)
    cuts = sorted(random.choice(np.arange(1, last.step), size=3, replace=False).tolist())
    resume, seen = None, []
    for cut in [*cuts, None]:
        for event in events(chosen, CORPUS, Scripted({cut or -1}, cut), resume):
            if isinstance(event, StepDone):
                seen.append(event)
            elif isinstance(event, CheckpointDue):
                resume = tmp_path / f"{event.step}"
                event.save(resume)
            elif isinstance(event, Finished):
                assert event.metrics == last.metrics
                assert weights_hash(event, tmp_path / "model") == expected
    assert seen == steps


@pytest.mark.parametrize(
    ("tokenizer", "architecture"),
    [("character", {}), ("bpe", {}), *(("word", head) for head in HEADS)],
)
def test_what_was_learned_is_continued(
    tokenizer: str, architecture: dict[str, Any], tmp_path: Path
) -> None:
    chosen = config(
        {"hidden_size": 32, "embedding_size": 16, "dropout": 0.0, **architecture},
        {"tokenizer": tokenizer, "vocabulary_size": 290},
        max_epochs=100,
        max_steps=200,
        learning_rate=0.03,
        early_stopping_patience=None,
    )
    last = finished(chosen, CORPUS)
    assert last.metrics["perplexity"] < 1.5
    last.save(tmp_path / "model")
    model = load_model(tmp_path / "model")
    assert isinstance(model, Generator)
    prompt = LINE + "to plough and"
    scores_v, state = model.prefill(model.encode(prompt), model.initial_state(1))
    decoder, text = model.decoder(prompt), prompt
    sampler = make_sampler([SamplingSettings(temperature=0)], [[]], model.vocabulary_size)
    for _ in range(12):
        [token] = sampler.draw(scores_v[None]).tokens_b.tolist()
        text += decoder.push(token)
        scores_bv, state = model.step(torch.tensor([token]), state)
        scores_v = scores_bv[0]
    assert len(text) > len(prompt)
    assert (LINE * 4).startswith(text)


def test_perplexity_is_per_token_and_bits_per_character_of_the_text() -> None:
    last = finished(config(max_epochs=1), CORPUS)
    metrics = last.metrics
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["loss_nats"]))
    characters_per_token = metrics["bits_per_token"] / metrics["bits_per_character"]
    assert characters_per_token == pytest.approx(len(LINE) / len(LINE.split(" ")), rel=0.1)


def test_the_test_part_is_judged_at_the_end_as_asked() -> None:
    data = {"test_fraction": 0.1, "test_evaluations": ["static", "cache", "dynamic"]}
    *history, last = events(config(data=data, max_epochs=2), CORPUS)
    assert isinstance(last, Finished)
    names = {"test_perplexity", "test_perplexity_cache", "test_perplexity_dynamic"}
    chosen = {"test_cache_flatness", "test_cache_weight", "test_dynamic_rate"}
    assert names | chosen | {"test_bits_per_character"} <= set(last.metrics)
    assert all(last.metrics[name] > 1 for name in names)
    evaluated = [event for event in history if isinstance(event, Evaluated)]
    assert not any(name.startswith("test_") for event in evaluated for name in event.metrics)
    without = finished(config(data={"test_evaluations": ["cache"]}, max_epochs=1), CORPUS)
    assert not any(name.startswith("test_") for name in without.metrics)


def test_evaluations_of_the_test_part_leave_the_weights_alone(tmp_path: Path) -> None:
    data = {"test_fraction": 0.1}
    plain = finished(config(data=data, max_epochs=1), CORPUS)
    judged = finished(
        config(data={**data, "test_evaluations": ["dynamic", "cache"]}, max_epochs=1), CORPUS
    )
    assert weights_hash(judged, tmp_path / "judged") == weights_hash(plain, tmp_path / "plain")


def test_a_segment_s_rate_is_as_its_length() -> None:
    made = work(random_bptt=True)
    batches = [made.batch(0, index) for index in range(made.steps_per_epoch)]
    lengths = [batch.loss(slice(0, 4)).timesteps / 4 for batch in batches]
    assert [batch.rate_scale for batch in batches] == [length / 12 for length in lengths]
    assert np.mean([batch.rate_scale for batch in batches]) == pytest.approx(1, abs=0.1)
    fixed = work()
    assert {fixed.batch(0, index).rate_scale for index in range(3)} == {1.0}


@pytest.mark.parametrize("architecture", [*HEADS, {"pre_norm": True, "num_layers": 3}])
def test_groups_of_layers_hold_every_parameter_once(architecture: dict[str, Any]) -> None:
    made = work({"num_layers": 2, **architecture})
    groups = made.layer_groups()
    assert len(groups) == 2 + architecture.get("num_layers", 2)
    assert groups[0] == [made.network.embedding.weight]
    grouped = [id(parameter) for group in groups for parameter in group]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(parameter) for parameter in made.network.parameters()}


def test_the_probe_sees_each_layer_and_nothing_is_drawn_or_carried() -> None:
    made = work({"num_layers": 2, "dropout": 0.3, "embedding_dropout": 0.3})
    batch = made.batch(0, 0)
    batch.loss(slice(0, batch.rows))
    carried = {name: tensor.clone() for name, tensor in made.carried_state().items()}
    probe = Probe([1, 4, 8])
    loss = made.probe_loss(probe)
    norms = probe.gradient_norms(loss)
    assert {layer: sorted(by_lag) for layer, by_lag in norms.items()} == {
        0: [1, 4, 8],
        1: [1, 4, 8],
    }
    assert all(norm > 0 for by_lag in norms.values() for norm in by_lag.values())
    assert torch.equal(made.probe_loss(Probe([2])), loss)
    for name, tensor in made.carried_state().items():
        assert torch.equal(tensor, carried[name])


def test_a_text_of_too_few_tokens_is_refused() -> None:
    """Bytes alone cannot tell: here are many for each word."""
    text = np.frombuffer(b"incomprehensibilities " * 9, dtype=np.uint8)
    with pytest.raises(DataTooSmallError, match=r"batch_size 8 needs 16 tokens .* 9 and 0"):
        finished(config(batch_size=8, data={"validation_fraction": 0.01}), CorpusExamples(text))


def test_the_model_folder_holds_the_tokens(tmp_path: Path) -> None:
    last = finished(config(max_epochs=1), CORPUS)
    last.save(tmp_path / "model")
    assert (tmp_path / "model" / "tokenizer.json").exists()
    tokenizer = read(tmp_path / "model", "model").tokenizer
    assert tokenizer is not None
    assert tokenizer.vocabulary_size == len(set(LINE.split())) + 2  # unknown words, line ends


def test_a_network_with_frozen_layers_can_be_tested_dynamically() -> None:
    data = {"test_fraction": 0.1, "test_evaluations": ["dynamic"]}
    last = finished(config(data=data, max_epochs=1, unfreeze_epochs=100.0), CORPUS)
    assert last.metrics["test_perplexity_dynamic"] > 1
