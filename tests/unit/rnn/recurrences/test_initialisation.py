"""What a training starts from."""

import math

import pytest
import torch
from torch import Tensor

from rnn.config import ArchitectureConfig
from rnn.layers import RecurrentLayer
from tests.unit.rnn.layer_cases import config_of, randomness

HIDDEN, LENGTH = 24, 50


def layer_of(kind: str, **options: object) -> RecurrentLayer:
    config = config_of(kind, HIDDEN, num_heads=2, **options)
    return RecurrentLayer(config, 3, randomness())


def recurrent_gates(kind: str, **options: object) -> list[Tensor]:
    """The recurrent matrix of each gate, and head."""
    layer = layer_of(kind, **options)
    parameters = layer.forwards
    if kind == "slstm":
        return [gate for head in parameters.recurrent_weight_ngh for gate in head.chunk(4)]
    if kind in {"layer_norm_lstm", "peephole"}:
        return list(parameters.recurrent_weight_gh.chunk(4))
    weight_gh = layer.weights().recurrent_weight_gh
    assert weight_gh is not None
    return list(weight_gh.chunk(len(weight_gh) // HIDDEN))


KINDS = ["rnn_tanh", "rnn_relu", "lstm", "gru", "layer_norm_lstm", "peephole", "slstm"]
every_recurrent_kind = pytest.mark.parametrize("kind", KINDS)


@every_recurrent_kind
def test_orthogonal_recurrence(kind: str) -> None:
    for gate_hh in recurrent_gates(kind):
        torch.testing.assert_close(gate_hh @ gate_hh.T, torch.eye(len(gate_hh)))


@every_recurrent_kind
def test_identity_recurrence(kind: str) -> None:
    for gate_hh in recurrent_gates(kind, recurrent_init="identity"):
        assert torch.equal(gate_hh, torch.eye(len(gate_hh)))


@every_recurrent_kind
def test_uniform_recurrence(kind: str) -> None:
    for gate_hh in recurrent_gates(kind, recurrent_init="uniform"):
        bound = len(gate_hh) ** -0.5
        assert 0.8 * bound < gate_hh.abs().max() <= bound
        assert abs(gate_hh.mean()) < 0.2 * bound


def bias_of(layer: RecurrentLayer) -> Tensor:
    if layer.native:
        return layer.weights().input_bias_g
    bias_g: Tensor = layer.forwards.bias_g
    return bias_g


@pytest.mark.parametrize("kind", ["lstm", "peephole", "mogrifier", "layer_norm_lstm"])
def test_the_forget_gate_starts_with_its_bias(kind: str) -> None:
    in_bias, forget_bias, *others = bias_of(layer_of(kind, forget_bias=2.5)).chunk(4)
    assert (forget_bias == 2.5).all()
    assert not any(bias.any() for bias in (in_bias, *others))


def assert_lasts_up_to(keep_bias_h: Tensor, length: int) -> None:
    """A gate sigmoid(b) keeps a share of its memory for 1 / (1 - sigmoid(b)) timesteps: these are
    spread evenly from 2 to `length`."""
    memory_h = 1 / (1 - torch.sigmoid(keep_bias_h.double()))
    assert ((memory_h >= 2) & (memory_h <= length)).all()
    assert abs(memory_h.mean() - (length + 2) / 2) < 0.2 * length


@pytest.mark.parametrize("kind", ["lstm", "peephole", "layer_norm_lstm", "slstm"])
def test_chrono_spreads_memories_of_an_lstm(kind: str) -> None:
    in_bias, forget_bias, *others = bias_of(layer_of(kind, chrono_length=LENGTH)).chunk(4)
    assert_lasts_up_to(forget_bias, LENGTH)
    assert torch.equal(in_bias, -forget_bias)
    assert not any(bias.any() for bias in others)


@pytest.mark.parametrize(
    ("kind", "gate", "sign"), [("gru", 1, 1), ("mingru", 0, -1), ("minlstm", 0, 1)]
)
def test_chrono_spreads_memories_of_other_cells(kind: str, gate: int, sign: int) -> None:
    bias_g = bias_of(layer_of(kind, chrono_length=LENGTH))
    gates = bias_g.chunk(len(bias_g) // HIDDEN)
    assert_lasts_up_to(sign * gates[gate], LENGTH)
    if kind == "minlstm":
        assert torch.equal(gates[1], -gates[0])


def test_indrnn_starts_within_its_bound() -> None:
    weight_h = layer_of("indrnn").forwards.recurrent_weight_h
    assert weight_h.min() >= 0
    assert 0.8 < weight_h.max() <= 1
    weight_h = layer_of("indrnn", chrono_length=LENGTH).forwards.recurrent_weight_h
    assert weight_h.min() >= 0.5 ** (1 / LENGTH)
    assert 1 < weight_h.max() <= 2 ** (1 / LENGTH)


def test_rglru_starts_with_slow_decays() -> None:
    decay_h = torch.sigmoid(layer_of("rglru").forwards.decay_logit_h.double()) ** 8
    assert decay_h.min() >= 0.9 - 1e-5
    assert decay_h.max() <= 0.999 + 1e-5
    assert decay_h.max() - decay_h.min() > 0.07


def test_forget_gates_of_xlstm_are_spread() -> None:
    forget_bias_h = bias_of(layer_of("slstm")).chunk(4)[1]
    expected = torch.linspace(3, 6, HIDDEN // 2)
    torch.testing.assert_close(forget_bias_h, torch.cat([expected, expected]))
    assert layer_of("mlstm").forwards.gate_bias_n[2:].tolist() == [3, 6]


@pytest.mark.parametrize(
    "kind", [*KINDS, "mogrifier", "mingru", "minlstm", "indrnn", "rglru", "mlstm"]
)
def test_a_seed_means_the_same_weights(kind: str) -> None:
    config = config_of(kind, 8, num_heads=2, recurrent_init="uniform")
    first, again, other = (
        torch.cat(
            [
                parameter.flatten()
                for parameter in RecurrentLayer(
                    config, 3, randomness(seed), bidirectional=True
                ).parameters()
            ]
        )
        for seed in (5, 5, 6)
    )
    assert first.isfinite().all()
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_chrono_of_two_timesteps_is_the_shortest_memory() -> None:
    weights = RecurrentLayer(
        ArchitectureConfig(hidden_size=4, chrono_length=2), 3, randomness()
    ).weights()
    assert weights.input_bias_g[4:8].tolist() == [math.log(1)] * 4
