from itertools import pairwise

import pytest
import torch
from torch import nn

from rnn.config import OptimizerName, TrainingConfig
from rnn.optim import (
    activation_penalty,
    add_l1_gradient,
    build_optimizer,
    clip_gradients,
    freeze_below,
    learning_rate_at,
    set_learning_rate,
)
from rnn.stack import StackOutputs


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "rmsprop"])
def test_weight_decay_shrinks_matrices_and_leaves_biases_and_norms_alone(
    name: OptimizerName,
) -> None:
    net = network()
    nn.init.ones_(net[0].bias)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    optimizer = build_optimizer(
        net, TrainingConfig(optimizer=name, learning_rate=1e-4, weight_decay=0.5)
    )
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    after = net.state_dict()
    assert (after["0.weight"].abs() < before["0.weight"].abs()).all()
    for key in ("0.bias", "1.weight", "1.bias"):
        assert torch.equal(after[key], before[key])


def test_l1_penalty_adds_its_sign_to_matrices_only() -> None:
    net = network()
    net(torch.ones(2, 3)).square().sum().backward()
    before = [parameter.grad.clone() for parameter in net.parameters()]
    add_l1_gradient(net.parameters(), 0.3)
    change = [p.grad - old for p, old in zip(net.parameters(), before, strict=True)]
    torch.testing.assert_close(change[0], 0.3 * net[0].weight.sign())
    assert not any(rest.any() for rest in change[1:])


def test_clipping_bounds_the_norm_of_all_gradients_together() -> None:
    net = network()
    net(torch.full((2, 3), 100.0)).sum().backward()
    net[0].weight.grad += 5
    norm = clip_gradients(net.parameters(), 0.5)
    assert norm > 0.5
    total = torch.cat([parameter.grad.flatten() for parameter in net.parameters()]).norm()
    assert total.item() == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("limit", [None, 1e6])
def test_gradients_below_the_limit_stay(limit: float | None) -> None:
    net = network()
    net(torch.ones(2, 3)).square().sum().backward()
    before = [parameter.grad.clone() for parameter in net.parameters()]
    clip_gradients(net.parameters(), limit)
    for parameter, old in zip(net.parameters(), before, strict=True):
        assert torch.equal(parameter.grad, old)


def test_warm_up_rises_to_the_rate_and_cosine_falls_from_it() -> None:
    config = TrainingConfig(learning_rate=2.0, warmup_fraction=0.1, schedule="cosine")
    rates = [learning_rate_at(step, 100, config) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == pytest.approx(2.0)
    assert max(rates) == pytest.approx(2.0)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0.02)


def test_constant_schedule_stays_and_needs_no_warm_up() -> None:
    config = TrainingConfig(learning_rate=0.5, warmup_fraction=0, schedule="constant")
    assert {learning_rate_at(step, 10, config) for step in range(1, 11)} == {0.5}


def test_one_cycle_peaks_after_a_third_and_ends_near_zero() -> None:
    config = TrainingConfig(learning_rate=1.0, warmup_fraction=0, schedule="one_cycle")
    rates = [learning_rate_at(step, 100, config) for step in range(1, 101)]
    assert rates.index(max(rates)) == 29
    assert rates[-1] < 0.001


def test_slanted_triangle_peaks_after_a_tenth_and_falls_along_a_line() -> None:
    config = TrainingConfig(learning_rate=3.2, warmup_fraction=0, schedule="slanted_triangular")
    rates = [learning_rate_at(step, 100, config) for step in range(1, 101)]
    assert rates.index(max(rates)) == 9
    assert rates[-1] == pytest.approx(0.1)
    falls = [before - after for before, after in pairwise(rates[9:])]
    assert falls == pytest.approx([3.1 / 90] * 90)


def test_each_layer_learns_at_a_share_of_the_rate_of_the_one_above_it() -> None:
    net = network()
    config = TrainingConfig(optimizer="sgd", layer_rate_decay=0.5, weight_decay=0)
    groups = [list(net[0].parameters()), list(net[1].parameters())]
    optimizer = build_optimizer(net, config, groups)
    set_learning_rate(optimizer, 0.1)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for key, value in net.state_dict().items():
        moved = torch.full_like(value, 0.05 if key.startswith("0") else 0.1)
        torch.testing.assert_close(before[key] - value, moved)


def test_frozen_layers_keep_their_weights_and_get_no_gradient() -> None:
    net = network()
    groups = [list(net[0].parameters()), list(net[1].parameters())]
    freeze_below(groups, 0)
    net(torch.randn(2, 3)).square().sum().backward()
    assert all(parameter.grad is None for parameter in groups[0])
    assert all(parameter.grad is not None for parameter in groups[1])
    freeze_below(groups, 2)
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_values_are_clipped_before_their_norm_and_the_norm_told_is_the_one_before() -> None:
    net = network()
    net[0].weight.grad = torch.full((4, 3), -2.0)
    net[0].bias.grad = torch.tensor([0.1, 0.2, 0.3, 9.0])
    norm = clip_gradients(net.parameters(), None, 0.25)
    assert norm.item() == pytest.approx((12 * 4 + 0.01 + 0.04 + 0.09 + 81) ** 0.5)
    assert net[0].weight.grad.unique().tolist() == [-0.25]
    torch.testing.assert_close(net[0].bias.grad, torch.tensor([0.1, 0.2, 0.25, 0.25]))
    clip_gradients(net.parameters(), 0.5, 0.25)
    total = torch.cat([net[0].weight.grad.flatten(), net[0].bias.grad]).norm()
    assert total.item() == pytest.approx(0.5, rel=1e-4)


def test_penalties_are_means_over_what_is_not_padding() -> None:
    config = TrainingConfig(activation_penalty=2.0, temporal_activation_penalty=3.0)
    dropped_bth, raw_bth = torch.randn(2, 2, 4, 5)
    whole = activation_penalty(StackOutputs(dropped_bth, raw_bth, None), config)
    change = (raw_bth[:, 1:] - raw_bth[:, :-1]).square().mean()
    torch.testing.assert_close(whole, 2 * dropped_bth.square().mean() + 3 * change)

    dropped_bth[1, 2:], raw_bth[1, 2:] = 1e3, -1e3
    ragged = activation_penalty(StackOutputs(dropped_bth, raw_bth, torch.tensor([4, 2])), config)
    present = torch.cat([dropped_bth[0], dropped_bth[1, :2]])
    changes = torch.cat([raw_bth[0, 1:] - raw_bth[0, :-1], raw_bth[1, 1:2] - raw_bth[1, :1]])
    expected = 2 * present.square().mean() + 3 * changes.square().mean()
    torch.testing.assert_close(ragged, expected)
