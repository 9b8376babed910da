"""Dropped weights, dropped hidden states and kept states, while training and not."""

import pytest
import torch
from torch import Tensor

from rnn.cells import CELLS, CellState
from rnn.layers import RecurrentLayer
from rnn.recurrences.noise import dropout_mask
from rnn.recurrences.recurrence import Recurrence
from tests.unit.rnn.layer_cases import (
    ZONEOUT,
    config_of,
    every_kind,
    random_input,
    random_layer,
    random_state,
)

WITH_RECURRENT_MATRIX = [
    "rnn_tanh",
    "rnn_relu",
    "lstm",
    "gru",
    "layer_norm_lstm",
    "slstm",
    "peephole",
    "mogrifier",
    "lstm zoneout",
    "gru zoneout",
]
in_either_precision = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
with_recurrent_matrix = pytest.mark.parametrize("kind", WITH_RECURRENT_MATRIX)


def recurrent_weights(layer: RecurrentLayer) -> list[Tensor]:
    weights = []
    for parameters in (layer.forwards, layer.backwards):
        if isinstance(parameters, Recurrence):
            weights += [parameters.get_parameter(name) for name in parameters.recurrent_matrices]
        elif parameters is not None:
            weights.append(parameters.weight_hh_l0)
    return weights


@in_either_precision
@pytest.mark.parametrize("kind", [kind for kind in WITH_RECURRENT_MATRIX if kind != "rnn_relu"])
def test_one_mask_drops_weights_for_a_whole_pass(kind: str, dtype: torch.dtype) -> None:
    """What has no gradient was dropped (with a rectifier, not it alone). Without those weights, and
    with the others scaled up, an evaluating layer gives the same outputs."""
    config = config_of(kind, 8, num_heads=2, weight_dropout=0.25, zoneout=0)
    layer = random_layer(config, 3, bidirectional=True).to(dtype).train()
    x_btd = random_input(4, 6, 3).to(dtype)
    y_bth, _ = layer(x_btd)
    weights = recurrent_weights(layer)
    gradients = torch.autograd.grad(y_bth.sin().sum(), weights)
    masks = [gradient != 0 for gradient in gradients]
    assert not torch.equal(*masks)
    for weight, mask in zip(weights, masks, strict=True):
        assert 0.1 < 1 - mask.double().mean() < 0.45
        weight.data *= mask.to(dtype) / 0.75
    torch.testing.assert_close(layer.eval()(x_btd)[0], y_bth)


@with_recurrent_matrix
def test_each_pass_drops_other_weights_and_evaluating_none(kind: str) -> None:
    config = config_of(kind, 8, num_heads=2, weight_dropout=0.25, zoneout=0)
    layer, x_btd = random_layer(config, 3).train(), random_input(4, 6, 3)
    assert not torch.equal(layer(x_btd)[0], layer(x_btd)[0])
    whole = random_layer(config_of(kind, 8, num_heads=2, zoneout=0), 3)
    torch.testing.assert_close(layer.eval()(x_btd)[0], whole(x_btd)[0])


@in_either_precision
@with_recurrent_matrix
def test_gates_do_not_see_dropped_hidden_units(kind: str, dtype: torch.dtype) -> None:
    """In float32 the kernels compute those cells that they have."""
    config = config_of(kind, 8, num_heads=2, recurrent_dropout=0.4, zoneout=0)
    layer = random_layer(config, 3).to(dtype).train()
    x_btd, start = random_input(5, 6, 3).to(dtype), random_state(layer, 5)
    start = CellState(*(None if part is None else part.to(dtype) for part in start))
    before = layer.generator.get_state()
    y_bth, end = layer(x_btd, start)
    layer.generator.set_state(before)
    mask_bh = dropout_mask(start.hidden_bh, 0.4, layer.generator)
    for row in range(5):
        state = CellState(*(None if part is None else part[row : row + 1] for part in start))
        for timestep in range(6):
            state = masked_step(layer, x_btd[row : row + 1, timestep], state, mask_bh[row])
            torch.testing.assert_close(y_bth[row, timestep], state.hidden_bh[0])
        torch.testing.assert_close(end.hidden_bh[row], state.hidden_bh[0])


def masked_step(layer: RecurrentLayer, x_bd: Tensor, state: CellState, mask_h: Tensor) -> CellState:
    """For one row: the mask on the hidden state, or on the columns of what multiplies it, for a GRU
    also carries its hidden state on."""
    if isinstance(layer.forwards, Recurrence):
        return layer.forwards.cell(x_bd, state._replace(hidden_bh=state.hidden_bh * mask_h))
    weights = layer.weights()
    weight_gh = weights.recurrent_weight_gh
    assert weight_gh is not None
    masked = weights._replace(recurrent_weight_gh=weight_gh * mask_h)
    return CELLS[layer.cell](x_bd, state, masked)


@pytest.mark.parametrize("kind", ["lstm", "gru", "slstm"])
def test_no_hidden_unit_is_dropped_when_evaluating(kind: str) -> None:
    layer = random_layer(config_of(kind, 8, recurrent_dropout=0.4), 3)
    whole = random_layer(config_of(kind, 8), 3)
    x_btd = random_input(2, 6, 3)
    torch.testing.assert_close(layer(x_btd)[0], whole(x_btd)[0])


@pytest.mark.parametrize("kind", ["lstm", "layer_norm_lstm", "gru", "slstm", "minlstm", "indrnn"])
def test_zoneout_keeps_its_share_of_units_as_they_were(kind: str) -> None:
    layer = random_layer(config_of(f"{kind} zoneout", 50, num_heads=2), 3).train()
    start = random_state(layer, 40)
    y_bth, end = layer(random_input(40, 20, 3), start)
    before_bth = torch.cat([start.hidden_bh[:, None], y_bth[:, :-1]], dim=1)
    kept_bth = (y_bth == before_bth) & (before_bth != 0)
    share = kept_bth.sum() / (before_bth != 0).sum()
    assert abs(float(share) - ZONEOUT) < 0.02
    again_bth, again = layer(random_input(40, 1, 3), end)
    if end.memory_bm is not None:
        assert again.memory_bm is not None
        share = (again.memory_bm == end.memory_bm).double().mean()
        assert abs(float(share) - (0 if kind == "slstm" else ZONEOUT)) < 0.05
        # The memory is kept by another mask than the hidden state.
        if kind != "slstm":
            both = (again.memory_bm == end.memory_bm) & (again_bth[:, 0] == end.hidden_bh)
            assert abs(float(both.double().mean()) - ZONEOUT**2) < 0.03


@pytest.mark.parametrize("kind", ["mingru zoneout", "minlstm zoneout", "rglru zoneout"])
def test_zoneout_in_evaluation_is_its_mean_over_masks(kind: str) -> None:
    """Exactly so where the recurrence is linear."""
    layer = random_layer(config_of(kind, 5), 3)
    x_btd = random_input(1, 7, 3).expand(20_000, -1, -1)
    expected_bth, _ = layer(x_btd[:1])
    y_bth, _ = layer.train()(x_btd)
    error_bth = (y_bth.mean(0) - expected_bth).abs()
    assert (error_bth < 5 * y_bth.std(0) / 20_000**0.5 + 1e-12).all()


@every_kind
def test_masks_come_from_the_layers_generator_alone(kind: str) -> None:
    config = config_of(kind, 8, num_heads=2)
    if config.cell in {"lstm", "gru", "layer_norm_lstm", "slstm"}:
        config = config.model_copy(update={"weight_dropout": 0.2, "recurrent_dropout": 0.2})
    layer, x_btd = random_layer(config, 3, bidirectional=True).train(), random_input(3, 5, 3)
    others, before = torch.get_rng_state(), layer.generator.get_state()
    first_bth, _ = layer(x_btd)
    layer.generator.set_state(before)
    assert torch.equal(layer(x_btd)[0], first_bth)
    drew = not torch.equal(layer.generator.get_state(), before)
    assert drew == bool(config.weight_dropout or config.zoneout)
    evaluated = layer.generator.get_state()
    layer.eval()(x_btd)
    assert torch.equal(layer.generator.get_state(), evaluated)
    assert torch.equal(torch.get_rng_state(), others)
