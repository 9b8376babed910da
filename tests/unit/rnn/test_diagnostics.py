"""What a look says is so, and a training does not notice that it was looked at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnn.config import ArchitectureConfig, TaskConfig
from rnn.data.examples import CorpusExamples, Examples
from rnn.determinism import Randomness
from rnn.diagnostics import (
    MOST_TIME,
    LookTimes,
    effective_memory,
    layer_weights,
    look,
    recurrent_matrices,
    spectral_radius,
)
from rnn.events import Diagnosed, Event, Finished, LayerFigures, StepDone
from rnn.kernels import library
from rnn.layers import RecurrentLayer
from rnn.tasks import prepare
from rnn.train import train
from rnn.work import Work, recurrent_stack
from tests.unit.rnn.trainings import (
    Scripted,
    Still,
    events,
    generation,
    weights_hash,
)


@pytest.mark.parametrize("kernels", ["auto", "off"])
def test_a_training_is_the_same_with_and_without_looks(
    kernels: str, case: tuple[Any, Examples], tmp_path: Path
) -> None:
    make, examples = case
    library.select(kernels)
    try:
        (blind, history), (seen, told) = (
            _run(make(diagnostics_interval=interval, unfreeze_epochs=0.4), examples)
            for interval in (None, 2)
        )
    finally:
        library.select("auto")
    looks = [event for event in told if isinstance(event, Diagnosed)]
    assert [event.step for event in looks] == list(range(2, seen.step + 1, 2))
    assert not any(isinstance(event, Diagnosed) for event in history)
    steps = [event for event in told if isinstance(event, StepDone)]
    assert steps == [event for event in history if isinstance(event, StepDone)]
    assert weights_hash(seen, tmp_path / "a") == weights_hash(blind, tmp_path / "b")


def _run(config: TaskConfig, examples: Examples) -> tuple[Finished, list[Event]]:
    *history, last = events(config, examples, Still())
    assert isinstance(last, Finished)
    return last, history


def prepared(config: TaskConfig, examples: Examples) -> Work:
    randomness = Randomness(config.training.seed, torch.device("cpu"))
    return prepare(config, examples, torch.device("cpu"), randomness)


def test_every_figure_of_every_layer_is_told(case: tuple[Any, Examples]) -> None:
    make, examples = case
    work = prepared(make(), examples)
    before = layer_weights(work)
    with torch.no_grad():
        for layer in recurrent_stack(work).recurrent_layers():
            for parameter in layer.parameters():
                parameter.mul_(1.01)
    figures = look(work, before)
    layers = recurrent_stack(work).recurrent_layers()
    assert [each.layer for each in figures] == list(range(1, 1 + len(layers)))
    for each in figures:
        assert each.update_ratio == pytest.approx(0.01, rel=1e-3)
        assert list(each.gradient_norms)[:4] == [1, 2, 4, 8]
        assert each.effective_memory is None or each.effective_memory in each.gradient_norms
        assert set(each.gate_saturation) == {"in_gate", "forget_gate", "out_gate"}
        assert set(each.spectral_radius) == {"in_gate", "forget_gate", "cell_gate", "out_gate"}
        assert each.dead_units == 0


def test_a_look_leaves_modes_gradients_and_generators_as_they_were(corpus: CorpusExamples) -> None:
    work = prepared(generation(), corpus)
    work.network.train()
    frozen = next(work.network.parameters()).requires_grad_(False)
    generator = recurrent_stack(work).dropout.generator
    before, carried = generator.get_state(), work.carried_state()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        look(work, layer_weights(work))
        assert torch.is_autocast_enabled("cpu")
        assert not torch.is_grad_enabled()
    assert torch.equal(generator.get_state(), before)
    assert work.carried_state() == carried
    assert all(module.training for module in work.network.modules())
    for parameter in work.network.parameters():
        assert parameter.grad is None
        assert parameter.requires_grad == (parameter is not frozen)


def test_dead_units_and_saturated_gates_are_counted(corpus: CorpusExamples) -> None:
    work = prepared(generation(), corpus)
    first = recurrent_stack(work).recurrent_layers()[0]
    hidden = first.weights().input_bias_g.shape[0] // 4
    with torch.no_grad():
        bias = first.weights().input_bias_g.view(4, hidden)
        bias[0, : hidden // 2] = -50  # in gates that never open: these units stay at zero
        bias[3] = 50
    figures = look(work, layer_weights(work))[0]
    assert figures.dead_units == pytest.approx(0.5)
    assert figures.gate_saturation["in_gate"] >= 0.5
    assert figures.gate_saturation["out_gate"] == 1
    assert figures.gate_saturation["forget_gate"] < 0.2


def test_the_spectral_radius_is_the_largest_eigenvalue() -> None:
    random = torch.Generator().manual_seed(0)
    for size in (3, 64, 200):
        matrix = torch.randn(size, size, generator=random)
        exact = float(torch.linalg.eigvals(matrix.double()).abs().max())
        assert spectral_radius(matrix) == pytest.approx(exact, rel=0.03)
    turning = torch.tensor([[0.0, -0.9], [0.9, 0.0]])  # a pair of complex eigenvalues
    assert spectral_radius(turning) == pytest.approx(0.9)
    assert spectral_radius(torch.block_diag(*[turning] * 50)) == pytest.approx(0.9, rel=1e-3)
    assert spectral_radius(torch.stack([turning, 2 * turning])) == pytest.approx(1.8)
    assert spectral_radius(torch.tensor([0.3, -0.7])) == pytest.approx(0.7)
    assert spectral_radius(torch.zeros(100, 100)) == 0
    assert np.isnan(spectral_radius(torch.tensor([[torch.nan]])))


@pytest.mark.parametrize(
    ("cell", "gates"),
    [
        ("rnn_relu", 1),
        ("gru", 3),
        ("lstm", 4),
        ("layer_norm_lstm", 4),
        ("slstm", 4),
        ("indrnn", 1),
        ("mingru", 0),
        ("mlstm", 0),
        ("rglru", 0),
    ],
)
def test_recurrent_matrices_are_square(cell: str, gates: int) -> None:
    config = ArchitectureConfig.model_validate({"cell": cell, "hidden_size": 8, "num_heads": 2})
    layer = RecurrentLayer(config, 5, Randomness(0, torch.device("cpu")))
    matrices = recurrent_matrices(layer)
    assert len(matrices) == gates
    for matrix in matrices.values():
        assert matrix.ndim == 1 or matrix.shape[-1] == matrix.shape[-2]


def test_forget_gate_and_cell_gate_are_not_mixed_up() -> None:
    for cell, place in (("lstm", 2), ("layer_norm_lstm", 3)):
        config = ArchitectureConfig.model_validate({"cell": cell, "hidden_size": 4})
        layer = RecurrentLayer(config, 5, Randomness(0, torch.device("cpu")))
        (weight,) = (
            parameter
            for name, parameter in layer.forwards.named_parameters()
            if name in ("weight_hh_l0", "recurrent_weight_gh")
        )
        assert torch.equal(recurrent_matrices(layer)["cell_gate"], weight.chunk(4)[place])


def test_the_memory_reaches_to_the_last_lag_that_is_felt() -> None:
    assert effective_memory({1: 1.0, 2: 0.5, 4: 0.1, 8: 0.09}) == 4
    assert effective_memory({1: 1.0, 2: 0.01, 4: 0.2}) == 4
    assert effective_memory({1: 0.0, 2: 0.0}) is None
    assert effective_memory({}) is None


def test_looks_are_taken_only_where_their_time_is_earned() -> None:
    times = LookTimes(interval=1)
    look_seconds, spent, looks = 2.0, 0.0, []
    seconds = 0.0
    for step in range(1, 1001):
        seconds += 0.5
        if times.due(step) and times.earned(step, seconds):
            looks.append(step)
            seconds += look_seconds
            spent += look_seconds
            times.spent(look_seconds)
        assert spent <= MOST_TIME * seconds
    assert 5 <= len(looks) <= 8


def test_no_look_is_due_between_intervals_or_without_one() -> None:
    assert [step for step in range(1, 13) if LookTimes(5).due(step)] == [5, 10]
    assert not LookTimes(None).due(200)


@dataclass
class SlowLooks(Scripted):
    """A step takes a second, a look too."""

    looks: int = 0

    def elapsed_seconds(self) -> float:
        return float(1 + self.step + self.looks)


def test_a_training_spends_no_more_on_looks_than_it_may(
    corpus: CorpusExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = SlowLooks()

    def slow(work: Work, before: Any) -> list[LayerFigures]:
        figures = look(work, before)
        control.looks += 1
        return figures

    monkeypatch.setattr("rnn.train.look", slow)
    config = generation(max_epochs=30, diagnostics_interval=1, early_stopping_patience=None)
    for event in train(config, corpus, device="cpu", control=control, resume=None):
        if isinstance(event, StepDone):
            control.step = event.step
        if isinstance(event, Diagnosed):
            assert control.looks <= MOST_TIME * control.elapsed_seconds() + 1e-9
    assert 3 <= control.looks <= 10
