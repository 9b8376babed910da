"""The stabilised cells of xLSTM against the paper's equations without stabilisers, and the parallel
form of mLSTM where chunks meet."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from rnn.cells import CellState
from rnn.layers import RecurrentLayer
from tests.unit.rnn.layer_cases import (
    assert_same_state,
    by_equations,
    config_of,
    random_input,
    random_layer,
    random_state,
)

HEADS, SIZE = 2, 3


def test_slstm_is_the_papers_without_a_stabiliser() -> None:
    layer = random_layer(config_of("slstm", HEADS * SIZE, num_heads=HEADS), 4)
    cell = layer.forwards
    x_btd = random_input(3, 8, 4)
    hidden_bh = cell_bh = normaliser_bh = torch.zeros(3, HEADS * SIZE, dtype=torch.float64)
    for x_bd, y_bh in zip(x_btd.unbind(1), layer(x_btd)[0].unbind(1), strict=True):
        preacts_bg = x_bd @ cell.input_weight_gd.T + cell.bias_g
        gates = preacts_bg.view(3, 4, HEADS, SIZE).clone()
        for head in range(HEADS):
            seen_bh = hidden_bh[:, head * SIZE : (head + 1) * SIZE]
            product_bg = seen_bh @ cell.recurrent_weight_ngh[head].T
            gates[:, :, head] += product_bg.view(3, 4, SIZE)
        in_preact, forget_preact, out_preact, cell_preact = gates.flatten(2).unbind(1)
        forget_gate, in_gate = torch.sigmoid(forget_preact), torch.exp(in_preact)
        cell_bh = forget_gate * cell_bh + in_gate * torch.tanh(cell_preact)
        normaliser_bh = forget_gate * normaliser_bh + in_gate
        hidden_bh = torch.sigmoid(out_preact) * cell_bh / normaliser_bh
        torch.testing.assert_close(y_bh, hidden_bh)


def test_mlstm_is_the_papers_without_a_stabiliser() -> None:
    layer = random_layer(config_of("mlstm", HEADS * SIZE, num_heads=HEADS), 4)
    cell = layer.forwards
    x_btd = random_input(1, 8, 4)
    y_th = layer(x_btd)[0][0]
    for head in range(HEADS):
        units = slice(head * SIZE, (head + 1) * SIZE)
        matrix_vk = torch.zeros(SIZE, SIZE, dtype=torch.float64)
        normaliser_k = torch.zeros(SIZE, dtype=torch.float64)
        for x_d, y_h in zip(x_btd[0], y_th, strict=True):
            query, key, value, out_preact = (
                part[units] for part in (cell.input_weight_gd @ x_d + cell.bias_g).chunk(4)
            )
            in_preact, forget_preact = (cell.gate_weight_nd @ x_d + cell.gate_bias_n).view(2, -1)
            in_gate = torch.exp(in_preact[head])
            forget_gate = torch.sigmoid(forget_preact[head])
            key = key / SIZE**0.5
            matrix_vk = forget_gate * matrix_vk + in_gate * torch.outer(value, key)
            normaliser_k = forget_gate * normaliser_k + in_gate * key
            read_v = matrix_vk @ query / (normaliser_k @ query).abs().clamp_min(1)
            even_v = (read_v - read_v.mean()) / (read_v.var(correction=0) + 1e-5).sqrt()
            hidden_v = torch.sigmoid(out_preact) * even_v * cell.gain_h[units]
            torch.testing.assert_close(y_h[units], hidden_v)


@pytest.mark.parametrize("timesteps", [63, 64, 65, 128, 150])
def test_chunks_of_mlstm_meet(timesteps: int) -> None:
    layer = random_layer(config_of("mlstm", HEADS * SIZE, num_heads=HEADS), 4)
    x_btd, start = random_input(2, timesteps, 4), random_state(layer, 2)
    y_bth, end = layer(x_btd, start)
    expected_bth, expected = by_equations(layer, x_btd, start)
    torch.testing.assert_close(y_bth, expected_bth, rtol=1e-10, atol=1e-10)
    assert_same_state(end, expected)


def test_each_row_of_mlstm_ends_in_its_own_chunk() -> None:
    layer = random_layer(config_of("mlstm", HEADS * SIZE, num_heads=HEADS), 4)
    lengths = [1, 64, 65, 128, 130, 20]
    x_btd, start = random_input(6, 130, 4), random_state(layer, 6)
    _, end = layer(x_btd, start, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        rows = slice(row, row + 1)
        _, expected = by_equations(
            layer, x_btd[rows, :length], CellState(*(part[rows] for part in start))
        )
        assert_same_state(CellState(*(part[rows] for part in end)), expected)


def test_gradients_pass_between_chunks_of_mlstm() -> None:
    layer = random_layer(config_of("mlstm", 4, num_heads=2), 3)
    x_btd = random_input(1, 70, 3).requires_grad_()

    def gradients(y_bth: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(y_bth[:, -1].sum(), [x_btd, *layer.parameters()])

    start = layer.initial_state(1)
    expected = gradients(by_equations(layer, x_btd, start)[0])
    for ours, theirs in zip(gradients(layer(x_btd, start)[0]), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def enormous(kind: str) -> RecurrentLayer:
    """In float32, with gates that open and close by hundreds of orders of magnitude."""
    layer = random_layer(config_of(kind, 8, num_heads=2), 4).float()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter *= 100
    return layer


@pytest.mark.parametrize("kind", ["slstm", "mlstm"])
def test_exponentials_do_not_overflow(kind: str) -> None:
    layer = enormous(kind)
    x_btd = random_input(2, 150, 4).float().requires_grad_()
    y_bth, end = layer(x_btd)
    y_bth.square().sum().backward()
    for part in (y_bth, *end, x_btd.grad):
        assert part is not None
        assert part.isfinite().all()


@pytest.mark.parametrize("kind", ["slstm", "mlstm"])
def test_gates_that_never_open_let_nothing_out(kind: str) -> None:
    """The normaliser is then zero, as far as numbers can tell."""
    layer = random_layer(config_of(kind, 8, num_heads=2), 4).float()
    with torch.no_grad():
        bias = layer.forwards.bias_g if kind == "slstm" else layer.forwards.gate_bias_n
        in_bias = bias.chunk(4 if kind == "slstm" else 2)[0]
        in_bias.fill_(-200)
    x_btd = random_input(2, 5, 4).float().requires_grad_()
    y_bth, _ = layer(x_btd)
    assert not y_bth.any()
    y_bth.sum().backward()
    assert x_btd.grad is not None
    assert x_btd.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"zoneout": 0.1}, "zoneout"), ({"num_heads": 8}, "two units")],
)
def test_what_mlstm_cannot_be_is_refused(options: dict[str, object], reason: str) -> None:
    """A head of one unit is zero once it is normalised."""
    with pytest.raises(ValidationError, match=reason):
        config_of("mlstm", 8, **options)
