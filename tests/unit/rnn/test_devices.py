"""Networks on another device than their inputs: no tensor of one meets those of the other.

The other device is torch's "meta", which has shapes and no numbers.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rnn.classification.network import ClassificationNetwork
from rnn.classification.padding import pad_tokens
from rnn.classification.predictor import Classifier
from rnn.classification.reading import make_reader
from rnn.config import TaskConfig
from rnn.determinism import Randomness
from rnn.forecasting import decoding
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.predictor import Forecaster
from rnn.generation.network import GenerationNetwork
from rnn.generation.predictor import Generator
from rnn.tokenizers import WordTokenizer

CELLS = ("lstm", "gru", "mingru", "indrnn", "slstm", "mlstm", "rglru", "layer_norm_lstm")
HEADS: list[dict[str, Any]] = [
    {"decoding": "direct"},
    {"decoding": "segments", "segment_length": 8, "linear": True},
    {"decoding": "recursive"},
]


class Apart(TorchDispatchMode):
    """Refuses what reads tensors of both devices, but for copies."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [x for x in tree_leaves((args, kwargs or {})) if isinstance(x, Tensor)]
        if "copy" not in str(func):
            assert len({x.device for x in given}) < 2, f"{func} reads tensors of both devices"
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: False)  # unknown of "meta"
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    with torch.inference_mode():
        yield


def config(task: str, cell: str, **parts: Any) -> Any:
    sizes = {"num_layers": 2, "hidden_size": 16, "cell": cell}
    architecture = {**sizes, **parts.pop("architecture", {})}
    adapter: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)
    return adapter.validate_python({"task": task, "architecture": architecture, **parts})


def test_tensors_of_both_devices_are_noticed() -> None:
    with Apart(), pytest.raises(AssertionError, match="both devices"):
        torch.ones(2) + torch.ones(2, device="meta")


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "gru"])
@pytest.mark.parametrize("head", HEADS)
def test_forecasts(cell: str, head: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def numbers(outputs: Tensor) -> np.ndarray:
        assert outputs.is_meta
        return np.zeros(outputs.shape)

    monkeypatch.setattr(decoding, "_numbers", numbers)
    data = {"horizon": 16, "context_length": 24, "season_length": 7}
    wanted = config("time-series-forecasting", cell, architecture=head, data=data)
    network = ForecastingNetwork(wanted, Randomness(0, torch.device("cpu"))).to("meta")
    model = Forecaster(wanted, network)
    with Apart():
        found = model.forecast([np.ones(40)] * 3, 16, [0.5])
    assert found.mean_bt.shape == (3, 16)


@pytest.mark.parametrize("cell", CELLS)
def test_scores_of_tokens(cell: str) -> None:
    wanted = config("text-generation", cell)
    network = GenerationNetwork(wanted, Randomness(0, torch.device("cpu"))).to("meta")
    model = Generator(wanted, network)
    with Apart():
        scores_bv, state = model.prefill_rows([[1, 2, 3], [4]], model.initial_state(2))
        stepped_bv, _ = model.step(torch.tensor([1, 2]), state.select([0, 1]))
    assert scores_bv.is_meta
    assert stepped_bv.is_meta


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "lstm"])  # packs its rows
@pytest.mark.parametrize("pooling", ["attention", "concatenated"])
def test_scores_of_labels(cell: str, pooling: str) -> None:
    wanted = config("text-classification", cell, architecture={"pooling": pooling})
    words = WordTokenizer.learn(["a warm film"], vocabulary_size=50, min_frequency=1)
    reader = make_reader(None, words)
    randomness = Randomness(0, torch.device("cpu"))
    network = ClassificationNetwork(wanted, reader.vocabulary_size, 2, randomness).to("meta")
    model = Classifier(wanted, network, reader, ["good", "bad"])
    with Apart():
        assert model._scores(*pad_tokens([[1, 2, 3], [2]])).is_meta
        assert model.hidden(model.encode(["a warm film"])[0]).hidden_lbh.is_meta
