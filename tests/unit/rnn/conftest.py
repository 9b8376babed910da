"""Tiny networks and examples that every test of the science shares."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from rnn.data.examples import CorpusExamples, Examples, SeriesExamples, TextExamples
from tests.unit.rnn.trainings import classification, forecasting, generation


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def series() -> SeriesExamples:
    """Six noisy seasons-of-eight with trends, of different lengths, one with gaps."""
    random = np.random.default_rng(0)
    values = []
    for index, length in enumerate((60, 64, 72, 48, 90, 80)):
        time = np.arange(length)
        season = np.sin(2 * np.pi * time / 8) * (index + 1)
        values.append(season + 0.05 * index * time + 10 + random.normal(0, 0.2, length))
    values[2][[5, 6, 40]] = np.nan
    ids = [f"s{index}" for index in range(len(values))]
    return SeriesExamples(ids, values, [None] * len(values), "1h")


@pytest.fixture
def sentences() -> TextExamples:
    """Sentences of very different lengths whose label is told by one word."""
    random = np.random.default_rng(1)
    filler = ["the", "film", "and", "its", "music", "story", "was", "there", "we", "saw"]
    told_by = {"good": ["lovely", "great"], "bad": ["dull", "awful"]}
    texts, labels = [], []
    for index in range(60):
        label = ("good", "bad")[index % 2]
        words = list(random.choice(filler, size=int(random.integers(1, 20))))
        words.insert(int(random.integers(len(words) + 1)), str(random.choice(told_by[label])))
        texts.append(" ".join(words))
        labels.append(label)
    return TextExamples(texts, labels, None)


@pytest.fixture
def corpus() -> CorpusExamples:
    line = "to plough and sow, to reap and mow, and be a farmer's boy — so it goes.\n"
    return CorpusExamples(np.frombuffer((line * 20).encode(), dtype=np.uint8))


@pytest.fixture(params=["forecasting", "classification", "generation"])
def case(
    request: pytest.FixtureRequest,
    series: SeriesExamples,
    sentences: TextExamples,
    corpus: CorpusExamples,
) -> tuple[Any, Examples]:
    """Makes the configuration of a task, and examples for it."""
    cases = {
        "forecasting": (forecasting, series),
        "classification": (classification, sentences),
        "generation": (generation, corpus),
    }
    return cases[request.param]
