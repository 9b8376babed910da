"""The peers' networks are those that we serve: they give the same answers."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.kernels.networks import CPU
from benchmarks.serving.environment import PEERS
from benchmarks.serving.networks import CONTEXT, HORIZON, SEASON, written_for_peers
from rnn import checkpoint
from rnn.classification.network import ClassificationNetwork
from rnn.classification.predictor import Classifier
from rnn.config import ClassificationConfig, ForecastingConfig, GenerationConfig, TaskConfig
from rnn.config.classification import ClassificationArchitecture
from rnn.config.forecasting import ForecastingArchitecture, ForecastingData
from rnn.config.generation import GenerationArchitecture
from rnn.determinism import Randomness
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.predictor import Forecaster
from rnn.generation.network import GenerationNetwork
from rnn.generation.predictor import Generator
from rnn.tokenizers import WordTokenizer

Peers = Callable[[str], ModuleType]
TEXTS = ["a fine film", "not a good one , at all", "film", "unheard-of words only"]


@pytest.fixture
def peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Peers:
    """The module that peers read the folder with, as it sees it for a task."""

    def read(task: str) -> ModuleType:
        environment = {"FOLDER": str(tmp_path / "weights"), "TASK": task, "PORT": "1"}
        for name, value in {**environment, "THREADS": "1"}.items():
            monkeypatch.setenv(f"PEER_{name}", value)
        spec = importlib.util.spec_from_file_location("networks", PEERS / "networks.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return read


def written(
    tmp_path: Path,
    task: str,
    config: TaskConfig,
    network: torch.nn.Module,
    values: dict[str, Any],
    tokenizer: WordTokenizer | None = None,
) -> Any:
    """The predictor of a model folder; what peers read of it lies beside."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.3, generator=generator)
    content = checkpoint.Content("model", config, values, network.state_dict(), tokenizer)
    checkpoint.write(tmp_path / "models" / task, content)
    written_for_peers(tmp_path / "models", task, tmp_path / "weights")
    return checkpoint.load_model(tmp_path / "models" / task)


def test_sentiment_is_the_same_alone_and_in_a_batch(tmp_path: Path, peers: Peers) -> None:
    architecture = ClassificationArchitecture(
        num_layers=2, hidden_size=6, embedding_size=5, pooling="concatenated"
    )
    config = ClassificationConfig(task="text-classification", architecture=architecture)
    tokenizer = WordTokenizer.learn(TEXTS[:3], vocabulary_size=20, min_frequency=1)
    network = ClassificationNetwork(config, tokenizer.vocabulary_size, 2, Randomness(0, CPU))
    values = {"labels": ["bad", "good"], "temperature": 1.7}
    ours = written(tmp_path, "sentiment", config, network, values, tokenizer)
    assert isinstance(ours, Classifier)
    wanted_b = ours.classify(TEXTS).probabilities_bc
    model = peers("sentiment").Sentiment()
    bodies = [{"text": text} for text in TEXTS]
    for found in (model.answers(bodies), [model.answers([body])[0] for body in bodies]):
        assert [answer["label"] for answer in found] == [
            ours.labels[best] for best in wanted_b.argmax(axis=1)
        ]
        scores = [answer["score"] for answer in found]
        np.testing.assert_allclose(scores, wanted_b.max(axis=1), atol=1e-5)


def test_forecasts_are_the_same(tmp_path: Path, peers: Peers) -> None:
    config = ForecastingConfig(
        task="time-series-forecasting",
        architecture=ForecastingArchitecture(num_layers=2, hidden_size=6),
        data=ForecastingData(context_length=CONTEXT, horizon=HORIZON, season_length=SEASON),
    )
    network = ForecastingNetwork(config, Randomness(0, CPU))
    ours = written(tmp_path, "forecasts", config, network, {})
    assert isinstance(ours, Forecaster)
    random = np.random.default_rng(0)
    series = [100 * scale + scale * random.normal(size=200).cumsum() for scale in (1.0, 5.0, 0.01)]
    wanted = ours.forecast(series, HORIZON, [0.1, 0.5, 0.9])
    model = peers("forecasts").Forecast()
    lists = [values.tolist() for values in series]
    split = [{"series": lists[:2]}, {"series": lists[2:]}]
    found = [one for answer in model.answers(split) for one in answer["forecasts"]]
    np.testing.assert_allclose([one["mean"] for one in found], wanted.mean_bt, rtol=1e-4)
    quantiles = [[one["quantiles"][level] for level in ("0.1", "0.5", "0.9")] for one in found]
    np.testing.assert_allclose(quantiles, wanted.quantiles_bqt, rtol=1e-4)


def test_texts_are_the_same_alone_and_beside_others(tmp_path: Path, peers: Peers) -> None:
    architecture = GenerationArchitecture(num_layers=2, hidden_size=8, embedding_size=5)
    config = GenerationConfig(task="text-generation", architecture=architecture)
    network = GenerationNetwork(config, Randomness(0, CPU))
    ours = written(tmp_path, "generation", config, network, {})
    assert isinstance(ours, Generator)
    wanted = []
    for prompt, count in (("ROMEO:", 9), ("a", 5)):
        scores_v, state = ours.prefill(ours.encode(prompt), ours.initial_state(1))
        tokens = [int(scores_v.argmax())]
        while len(tokens) < count:
            scores_bv, state = ours.step(torch.tensor(tokens[-1:]), state)
            tokens.append(int(scores_bv[0].argmax()))
        wanted.append(tokens)
    model = peers("generation").Generation()
    both = [{"prompt": "ROMEO:", "tokens": 9}, {"prompt": "a", "tokens": 5}]
    steps = list(model.stream(both))
    assert [[step[row] for step in steps][: len(wanted[row])] for row in (0, 1)] == wanted
    assert steps[5][1] is None
    assert [token for [token] in model.stream(both[:1])] == wanted[0]
