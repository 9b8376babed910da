"""The precision of a finished network: measured, within a bound, recorded, and served."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from rnn import quantisation
from rnn.checkpoint import Content, Predictor, load_model, read, write
from rnn.config import GenerationConfig, ServingConfig, TaskConfig
from rnn.data.examples import CorpusExamples, Examples, SeriesExamples, TextExamples
from rnn.determinism import Randomness
from rnn.errors import CheckpointError, ConfigError
from rnn.events import Serving
from rnn.kernels import library
from rnn.quantisation import choose_precision
from rnn.tasks import prepare
from rnn.work import LossSum, Work
from tests.unit.rnn.trainings import classification, finished, forecasting, generation

CPU = torch.device("cpu")
ALL = {"float32", "bfloat16", "int8"}


@pytest.fixture(autouse=True)
def every_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """All kernels compute them all, but not all the faster for it."""
    monkeypatch.setattr(library, "precision_here", lambda wanted: wanted)


def serving(config: TaskConfig, **choices: Any) -> TaskConfig:
    return config.model_copy(update={"serving": ServingConfig(**choices)})


def of_paths(base: TaskConfig, decoding: str) -> TaskConfig:
    architecture = base.architecture.model_copy(update={"decoding": decoding})
    return base.model_copy(update={"architecture": architecture})


@pytest.fixture
def cases(
    series: SeriesExamples, sentences: TextExamples, corpus: CorpusExamples
) -> dict[str, tuple[TaskConfig, Examples]]:
    return {
        "direct": (forecasting(), series),
        "segments": (of_paths(forecasting(), "segments"), series),
        "recursive": (of_paths(forecasting(), "recursive"), series),
        "classification": (classification(), sentences),
        "generation": (generation(), corpus),
    }


@dataclass
class Losses:
    """Work of which only the losses of a predictor are asked, made up for each precision."""

    means: dict[str, float]
    pieces: int = 1
    taken: list[str] = field(default_factory=list)

    def served_losses(self, predictor: Predictor) -> Iterator[LossSum]:
        for _ in range(self.pieces):
            self.taken.append(predictor.precision)
            yield LossSum(10 * self.means[predictor.precision], 10)


@pytest.fixture(scope="module")
def model() -> Content:
    """A language model that learned nothing."""
    config = GenerationConfig.model_validate(
        {
            "task": "text-generation",
            "architecture": {"hidden_size": 8, "num_layers": 1, "embedding_size": 4},
        }
    )
    work = prepare(config, CorpusExamples(np.zeros(2_000, np.uint8)), CPU, Randomness(0, CPU))
    return Content("model", config, {}, work.network.state_dict())


Choose = Callable[..., tuple[Serving, Losses]]


@pytest.fixture
def choose(model: Content) -> Choose:
    def choose(
        float32: float, bfloat16: float, int8: float, pieces: int = 1, **choices: Any
    ) -> tuple[Serving, Losses]:
        losses = Losses({"float32": float32, "bfloat16": bfloat16, "int8": int8}, pieces)
        clock = count(step=5.0)
        config = ServingConfig(**choices)
        return choose_precision(model, cast(Work, losses), config, lambda: next(clock)), losses

    return choose


@pytest.mark.parametrize(
    "case", ["direct", "segments", "recursive", "classification", "generation"]
)
def test_a_version_says_its_precision_and_is_served_in_it(
    case: str, cases: dict[str, tuple[TaskConfig, Examples]], tmp_path: Path
) -> None:
    config, examples = cases[case]
    last = finished(serving(config, max_loss_increase=1.0), examples)
    assert last.serving.precision == "int8"
    assert last.serving.positions > 0
    last.save(tmp_path / "model")
    assert read(tmp_path / "model", "model").values["serving"]["precision"] == "int8"
    assert load_model(tmp_path / "model").precision == "int8"
    # One is calibrated by then, the other warms up on fewer tokens: the figures are near, not same.
    metric = last.metrics["loss_nats" if case == "generation" else "loss"]
    assert last.serving.losses["float32"] == pytest.approx(metric, rel=0.05, abs=0.02)
    assert len(set(last.serving.losses.values())) == 3


def test_int8_is_refused_where_its_loss_exceeds_the_bound(
    corpus: CorpusExamples, tmp_path: Path
) -> None:
    """A unit that is always zero has huge weights after it: they set the scale, and the others
    round to nothing. Floating point does not mind."""
    config = generation(max_epochs=10)
    finished(config, corpus).save(tmp_path / "model")
    model = read(tmp_path / "model", "model")
    size = config.architecture.hidden_size
    weights = {name: tensor.clone() for name, tensor in model.tensors.items()}
    for name, tensor in weights.items():
        if name.startswith("stack.layers.1"):
            tensor[::size] = 0
    weights["head.weight"][:, 0] = 1e4
    work = prepare(config, corpus, CPU, Randomness(0, CPU))
    found = choose_precision(replace(model, tensors=weights), work, config.serving, lambda: 0.0)
    exact, rounded = found.losses["float32"], found.losses["int8"]
    assert exact is not None
    assert rounded is not None
    assert rounded > 1.02 * exact
    assert found.precision == "bfloat16"


@pytest.mark.parametrize(
    ("losses", "precision"),
    [
        ((2.0, 2.0, 2.001), "int8"),
        ((2.0, 2.0, 2.003), "bfloat16"),
        ((2.0, 2.003, 2.003), "float32"),
        ((2.0, 2.003, 1.9), "int8"),
        ((-2.0, -2.0, -1.999), "int8"),  # a density may be above 1
        ((-2.0, -2.0, -1.997), "bfloat16"),
        ((2.0, 2.0, np.nan), "bfloat16"),
        ((2.0, np.inf, np.nan), "float32"),
    ],
)
def test_the_fastest_within_the_bound(
    choose: Choose, losses: tuple[float, float, float], precision: str
) -> None:
    found, _ = choose(*losses)
    assert found.precision == precision
    expected = pytest.approx(losses[2]) if np.isfinite(losses[2]) else None
    assert found.losses["int8"] == expected
    assert found.max_loss_increase == 0.001


def test_the_bound_is_the_jobs(choose: Choose) -> None:
    assert choose(2.0, 2.0, 2.1)[0].precision == "bfloat16"
    assert choose(2.0, 2.0, 2.1, max_loss_increase=0.1)[0].precision == "int8"


def test_a_precision_that_the_job_fixes_is_measured_and_taken(choose: Choose) -> None:
    found, _ = choose(2.0, 2.0, 3.0, precision="int8")
    assert found == Serving("int8", {"float32": 2.0, "int8": 3.0}, 10, max_loss_increase=None)
    assert choose(2.0, 2.0, np.nan, precision="int8")[0].precision == "float32"
    found, losses = choose(2.0, 2.0, 2.0, precision="float32")
    assert found == Serving("float32", {}, 0, max_loss_increase=None)
    assert losses.taken == []


def test_where_time_runs_out_all_were_measured_on_the_same(choose: Choose) -> None:
    found, losses = choose(2.0, 2.0, 2.0, pieces=100)
    assert found.positions == 50  # the clock goes five seconds a look
    assert found.precision == "int8"
    assert [losses.taken.count(each) for each in ("float32", "bfloat16", "int8")] == [5, 5, 5]


def test_without_kernels_nothing_is_measured(choose: Choose) -> None:
    library.select("off")
    try:
        found, losses = choose(2.0, 2.0, 2.0)
    finally:
        library.select("auto")
    assert (found.precision, found.losses, losses.taken) == ("float32", {}, [])


def test_without_memory_for_more_weights_it_is_float32(
    choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> Predictor:
        raise MemoryError

    monkeypatch.setattr(quantisation, "make_predictor", none)
    assert choose(2.0, 2.0, 2.0)[0] == Serving("float32", {}, 0, max_loss_increase=0.001)


def test_a_fixed_precision_that_the_network_cannot_have_is_refused(corpus: CorpusExamples) -> None:
    config = generation()
    dense = config.model_copy(
        update={"architecture": config.architecture.model_copy(update={"dense": True})}
    )
    with pytest.raises(ConfigError, match=r"serving\.precision.*int8"):
        finished(serving(dense, precision="int8"), corpus)
    assert finished(serving(dense), corpus).serving.losses == {}


def test_models_without_a_precision_answer_in_float32_and_unknown_ones_not_at_all(
    model: Content, tmp_path: Path
) -> None:
    write(tmp_path / "old", model)
    assert load_model(tmp_path / "old").precision == "float32"
    write(tmp_path / "new", replace(model, values={"serving": {"precision": "int2"}}))
    with pytest.raises(CheckpointError, match="int2"):
        load_model(tmp_path / "new")
