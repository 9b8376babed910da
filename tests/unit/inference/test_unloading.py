"""Networks that are loaded and unloaded again and again leave nothing behind."""

import logging
import os
import threading
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from rnn.checkpoint import Content, manifest_sha256, write
from rnn.classification.network import ClassificationNetwork
from rnn.config import ClassificationConfig, ForecastingConfig, TaskConfig
from rnn.determinism import Randomness
from rnn.forecasting.network import ForecastingNetwork
from rnn.tokenizers import WordTokenizer
from service.inference.loaded import LoadedModels, Model
from service.inference.requests import Network
from tests.unit.inference.footprints import allocated, model_folder

TIMES = 500
SIZES = {"hidden_size": 48, "num_layers": 1}


def config_of(task: str, **parts: Any) -> Any:
    adapter: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)
    return adapter.validate_python({"task": task, **parts})


@pytest.fixture
def networks(tmp_path: Path) -> list[Network]:
    """One of each task, in each precision."""
    found = []
    randomness = Randomness(0, torch.device("cpu"))
    forecasting: ForecastingConfig = config_of(
        "time-series-forecasting",
        architecture=SIZES,
        data={"horizon": 4, "context_length": 8, "season_length": 4},
    )
    classification: ClassificationConfig = config_of("text-classification", architecture=SIZES)
    words = WordTokenizer.learn(["a warm film"], vocabulary_size=50, min_frequency=1)
    for precision in ("float32", "bfloat16", "int8"):
        values = {"serving": {"precision": precision}}
        folder = tmp_path / precision
        forecaster = ForecastingNetwork(forecasting, randomness)
        write(folder / "series", Content("model", forecasting, values, forecaster.state_dict()))
        classifier = ClassificationNetwork(classification, words.vocabulary_size, 2, randomness)
        labelled = {**values, "labels": ["bad", "good"]}
        weights = classifier.state_dict()
        write(folder / "texts", Content("model", classification, labelled, weights, words))
        model_folder(folder / "tokens", precision, **SIZES, embedding_size=16)
        found += [
            Network(place, manifest_sha256(place))
            for place in (folder / "series", folder / "texts", folder / "tokens")
        ]
    return found


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Visitor:
    """Borrows one network after the other, and has each unloaded when it gives it back."""

    def __init__(self) -> None:
        self._woken = threading.Semaphore(0)
        self.models: LoadedModels[str] = LoadedModels(2**24, wake=self._woken.release)

    def visit(self, network: Network) -> None:
        assert self.models.borrow(network, "me") is None
        assert self._woken.acquire(timeout=60)
        ((_, model),) = list(self.models.arrived())
        assert isinstance(model, Model)
        assert self.models.size_bytes > 0
        self.models.replace(network.sha256)
        self.models.give_back(network.sha256)
        assert (len(self.models), self.models.size_bytes) == (0, 0)


def test_loading_and_unloading_leaves_nothing_behind(
    networks: list[Network], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)  # what is logged is kept for the test's report
    visitor = Visitor()
    try:
        for network in islice(cycle(networks), 100):
            visitor.visit(network)
        allocated_before, resident_before = allocated(), resident()
        for network in islice(cycle(networks), TIMES):
            visitor.visit(network)
        # The smallest of them takes 137 kB: one that stayed each time would be 69 MB.
        assert allocated() - allocated_before < TIMES * 500
        assert resident() - resident_before < 2**23
    finally:
        visitor.models.close()
