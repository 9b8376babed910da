"""Whatever is asked beside it, a row is answered as alone: to the last digit."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn.classification.network import ClassificationNetwork
from rnn.classification.predictor import Classifier
from rnn.config import ClassificationConfig, ForecastingConfig, GenerationConfig
from rnn.determinism import Randomness
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.paths import Dependence
from rnn.forecasting.predictor import Forecaster
from rnn.generation.network import GenerationNetwork
from rnn.generation.predictor import Generator
from rnn.kernels import library
from rnn.state import HiddenState
from rnn.tokenizers import WordTokenizer
from tests.unit.rnn.stacks import CELLS, disturb

# Odd sizes: the last elements of an array are those that torch computes in another way.
SIZES: dict[str, Any] = {"num_layers": 2, "hidden_size": 9}
PARTS: dict[str, dict[str, Any]] = {
    **{name: {**SIZES, **cell} for name, cell in CELLS.items()},
    "mlstm": {**SIZES, "cell": "mlstm", "num_heads": 3},
    "slstm": {**SIZES, "cell": "slstm", "num_heads": 3},
    "dense": {**SIZES, "dense": True, "pre_norm": True, "output_layers": "sum"},
    "wide": {"num_layers": 2, "hidden_size": 130},
    "even": {"num_layers": 1, "hidden_size": 64},
    "residual": {"num_layers": 2, "hidden_size": 16, "residual": True},
}
every_part = pytest.mark.parametrize("part", list(PARTS))
WORDS = [f"w{number}" for number in range(40)]
READER = WordTokenizer.learn([" ".join(WORDS)], vocabulary_size=60, min_frequency=1)
LEVELS = (0.1, 0.5, 0.9)
texts = st.lists(
    st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join), min_size=2, max_size=12
)
many_series = st.lists(
    st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=60).map(np.array), min_size=2, max_size=12
)
some = settings(max_examples=6, deadline=None)


def randomness() -> Randomness:
    return Randomness(0, torch.device("cpu"))


def forecaster(**architecture: Any) -> Forecaster:
    config = ForecastingConfig.model_validate(
        {
            "task": "time-series-forecasting",
            "architecture": architecture,
            "data": {"horizon": 5, "context_length": 24, "season_length": 7},
        }
    )
    network = ForecastingNetwork(config, randomness())
    disturb(network)
    return Forecaster(config, network, dependence=Dependence(0.2, 0.7))


def classifier(**architecture: Any) -> Classifier:
    config = ClassificationConfig.model_validate(
        {
            "task": "text-classification",
            "architecture": {"embedding_size": 11, **architecture},
            "data": {"max_tokens": 30},
        }
    )
    network = ClassificationNetwork(config, READER.vocabulary_size, 3, randomness())
    disturb(network)
    return Classifier(config, network, READER, ["x", "y", "z"])


def generator(**architecture: Any) -> Generator:
    config = GenerationConfig.model_validate(
        {"task": "text-generation", "architecture": {"embedding_size": 11, **architecture}}
    )
    network = GenerationNetwork(config, randomness())
    disturb(network)
    return Generator(config, network)


def assert_forecasts_exact(model: Forecaster, series: list[np.ndarray]) -> None:
    together = model.forecast(series, 5, LEVELS, num_samples=3, seeds=range(len(series)))
    assert together.samples_bst is not None
    for row, values in enumerate(series):
        alone = model.forecast([values], 5, LEVELS, num_samples=3, seeds=[row])
        assert alone.samples_bst is not None
        np.testing.assert_array_equal(together.samples_bst[row], alone.samples_bst[0])
        np.testing.assert_array_equal(together.mean_bt[row], alone.mean_bt[0])
        np.testing.assert_array_equal(together.quantiles_bqt[row], alone.quantiles_bqt[0])


def assert_labels_exact(model: Classifier, texts: list[str]) -> None:
    together = model.classify(texts).probabilities_bc
    for row, text in enumerate(texts):
        np.testing.assert_array_equal(together[row], model.classify([text]).probabilities_bc[0])


def assert_scores_exact(model: Generator, prompts: list[str]) -> None:
    """Prompts are read alone; then the texts take steps together."""
    read = [model.prefill(model.encode(prompt), model.initial_state(1)) for prompt in prompts]
    states = [state for _, state in read]
    together = HiddenState.cat(states)
    for token in range(40, 43):
        tokens_b = torch.arange(len(prompts)) + token
        scores_bv, together = model.step(tokens_b, together)
        for row, token_t in enumerate(torch.split(tokens_b, 1)):
            alone_bv, states[row] = model.step(token_t, states[row])
            assert torch.equal(scores_bv[row], alone_bv[0])
            assert torch.equal(together.row(row).hidden_lbh, states[row].hidden_lbh)


@every_part
@some
@given(series=many_series)
def test_forecasts(part: str, series: list[np.ndarray]) -> None:
    assert_forecasts_exact(forecaster(**PARTS[part]), series)


@pytest.mark.parametrize("cell", ["gru", "rglru"])
@pytest.mark.parametrize(
    "head",
    [
        {"decoding": "segments"},
        {"decoding": "recursive"},
        {"convolution": {"channels": 7, "pooling": 2}},
        {"distribution": "point"},
        {"distribution": "student_t"},
        {"distribution": "negative_binomial"},
    ],
    ids=str,
)
@some
@given(series=many_series)
def test_forecasts_of_every_head(cell: str, head: dict[str, Any], series: list[np.ndarray]) -> None:
    assert_forecasts_exact(forecaster(**PARTS[cell], **head), series)


@every_part
@some
@given(texts=texts)
def test_labels(part: str, texts: list[str]) -> None:
    assert_labels_exact(classifier(**PARTS[part]), texts)


@pytest.mark.parametrize("cell", ["lstm", "indrnn"])
@pytest.mark.parametrize("pooling", ["last", "max", "mean", "concatenated", "attention"])
@pytest.mark.parametrize("more", [{}, {"convolution": {"channels": 7, "pooling": 2}}], ids=str)
@some
@given(texts=texts)
def test_labels_of_every_head(
    cell: str, pooling: str, more: dict[str, Any], texts: list[str]
) -> None:
    assert_labels_exact(classifier(**PARTS[cell], pooling=pooling, **more), texts)


@every_part
@some
@given(prompts=st.lists(st.text("abc", max_size=9), min_size=2, max_size=12))
def test_scores_of_the_next_token(part: str, prompts: list[str]) -> None:
    assert_scores_exact(generator(**PARTS[part]), prompts)


@pytest.mark.parametrize(
    "head",
    [{"tied": True}, {"softmax": "mixture"}, {"softmax": "mixture", "tied": True}],
    ids=str,
)
@some
@given(prompts=st.lists(st.text("abc", max_size=9), min_size=2, max_size=12))
def test_scores_of_every_head(head: dict[str, Any], prompts: list[str]) -> None:
    assert_scores_exact(generator(**SIZES, **head), prompts)


@pytest.fixture
def torch_alone() -> Iterator[None]:
    library.select("off")
    yield
    library.select("auto")


@pytest.mark.usefixtures("torch_alone")
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_relu", "minlstm"])
def test_where_no_kernels_could_be_built(cell: str) -> None:
    random = np.random.default_rng(0)
    said = [" ".join(random.choice(WORDS, size=size)) for size in (1, 30, 7, 7, 19)]
    series = [random.normal(size=size) for size in (3, 60, 24, 24, 33)]
    assert_labels_exact(classifier(**PARTS[cell]), said)
    assert_forecasts_exact(forecaster(**PARTS[cell]), series)
    assert_forecasts_exact(forecaster(**PARTS[cell], decoding="recursive"), series)
    assert_scores_exact(generator(**PARTS[cell]), ["", "abc", "a", "abcabc", "b"])
