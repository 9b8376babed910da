"""The bound of a recurrence of single units."""

import pytest
import torch

from rnn.recurrences.indrnn import IndRNN
from tests.unit.rnn.layer_cases import config_of, random_input, random_layer


def layer_with_weight(weight: float, chrono_length: int | None = None) -> IndRNN:
    config = config_of("indrnn", 1, chrono_length=chrono_length)
    recurrence = random_layer(config, 1).forwards
    assert isinstance(recurrence, IndRNN)
    with torch.no_grad():
        recurrence.recurrent_weight_h.fill_(weight)
        recurrence.input_weight_hd.fill_(1)
        recurrence.bias_h.zero_()
    return recurrence


@pytest.mark.parametrize("chrono_length", [None, 10])
@pytest.mark.parametrize("timesteps", [1, 10, 30])
def test_nothing_more_than_doubles_over_its_length(
    timesteps: int, chrono_length: int | None
) -> None:
    layer = random_layer(config_of("indrnn", 1, chrono_length=chrono_length), 1)
    with torch.no_grad():
        layer.forwards.recurrent_weight_h.fill_(7)
        layer.forwards.bias_h.zero_()
    start = layer.initial_state(1)._replace(hidden_bh=torch.ones(1, 1, dtype=torch.float64))
    y_bth, _ = layer(torch.zeros(1, timesteps, 1, dtype=torch.float64), start)
    grown = 1 if chrono_length is None else 2 ** (timesteps / chrono_length)
    assert y_bth[0, -1, 0].item() == pytest.approx(grown)


@pytest.mark.parametrize("weight", [1.5, -1.5, 1.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_weight_at_its_bound_only_moves_inwards(weight: float, sign: int) -> None:
    """A clamp alone would hold it there for ever."""
    recurrence = layer_with_weight(weight)
    bounded_h = recurrence._bounded_weight()
    assert bounded_h.item() == max(-1, min(1, weight))
    (gradient_h,) = torch.autograd.grad(sign * bounded_h.sum(), recurrence.recurrent_weight_h)
    inwards = sign * weight > 0  # a step goes against the gradient
    assert gradient_h.item() == (sign if inwards else 0)


def test_a_rectified_unit_gives_no_gradient_while_it_is_closed() -> None:
    recurrence = layer_with_weight(0.5)
    x_btd = torch.tensor([1.0, -3.0, 2.0], dtype=torch.float64).view(1, 3, 1).requires_grad_()
    layer_start = random_layer(config_of("indrnn", 1), 1).initial_state(1)
    y_bth, _ = recurrence.sequence(x_btd, layer_start)
    assert y_bth.flatten().tolist() == [1, 0, 2]
    (gradient_btd,) = torch.autograd.grad(y_bth.sum(), x_btd)
    assert gradient_btd.flatten().tolist() == [1, 0, 1]


def test_gradients_of_many_rows_add_up() -> None:
    layer, x_btd = random_layer(config_of("indrnn", 6), 3), random_input(4, 8, 3)
    weight_h = layer.forwards.recurrent_weight_h
    (together,) = torch.autograd.grad(layer(x_btd)[0].sum(), weight_h)
    alone = [torch.autograd.grad(layer(row[None])[0].sum(), weight_h)[0] for row in x_btd]
    torch.testing.assert_close(together, sum(alone))
