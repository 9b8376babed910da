import pytest
import torch
from torch import nn

from rnn.config import OptimizerName, TrainingConfig
from rnn.optim import add_l1_gradient, build_optimizer, clip_gradients, learning_rate_at


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
