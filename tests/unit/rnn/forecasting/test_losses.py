"""Losses that ignore what is masked, and gradients that agree with finite differences."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from rnn.classification.network import ClassificationNetwork
from rnn.config import (
    CellName,
    ClassificationConfig,
    ForecastingConfig,
    ForecastingData,
    GenerationConfig,
    TaskConfig,
)
from rnn.determinism import Randomness
from rnn.forecasting.losses import ROUNDED, forecast_loss, pinball_loss, point_loss
from rnn.forecasting.network import ForecastingNetwork
from rnn.forecasting.windows import WindowShape
from rnn.generation.network import GenerationNetwork

CPU = torch.device("cpu")
TINY = {"hidden_size": 3, "num_layers": 2, "num_heads": 1}


def test_pinball_loss_of_the_median_is_the_absolute_error() -> None:
    target_bh = torch.tensor([[1.0, -2.0]])
    loss = pinball_loss(torch.zeros(1, 2, 1), target_bh, torch.ones(1, 2), torch.tensor([0.5]))
    assert loss.item() == pytest.approx(1.5)


def test_pinball_loss_is_least_at_the_quantile() -> None:
    sample = torch.linspace(0, 1, 101)[None]
    levels_q = torch.tensor([0.9])
    losses = {
        guess: pinball_loss(
            torch.full((1, 101, 1), guess), sample, torch.ones_like(sample), levels_q
        ).item()
        for guess in (0.5, 0.8, 0.9, 0.97)
    }
    assert min(losses, key=lambda guess: losses[guess]) == 0.9


def test_masked_targets_change_neither_loss_nor_gradient() -> None:
    mask_bh = torch.tensor([[True, True, False]])
    levels_q = torch.tensor([0.1, 0.9])

    def loss_and_gradient(hidden_target: float) -> tuple[float, Tensor]:
        outputs = torch.ones(1, 3, 3, requires_grad=True)
        target = torch.tensor([[0.5, 2.0, hidden_target]])
        loss = forecast_loss(outputs, target, mask_bh, levels_q)
        (gradient,) = torch.autograd.grad(loss, outputs)
        return loss.item(), gradient

    loss, gradient = loss_and_gradient(0.0)
    other_loss, other_gradient = loss_and_gradient(1e6)
    assert loss == other_loss
    assert torch.equal(gradient, other_gradient)
    assert not gradient[0, 2].any()


def test_a_point_counts_by_its_distance() -> None:
    target_bh, mask_bh = torch.tensor([[0.5, 9.0, 7.0]]), torch.tensor([[True, True, False]])
    loss = point_loss(torch.zeros(1, 3), target_bh, mask_bh)
    assert loss.item() == pytest.approx((0.5 + 9) / 2 - ROUNDED / 2)


def forecasting_case(cell: str) -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    data = ForecastingData(horizon=3, context_length=4, season_length=2)
    config: TaskConfig = ForecastingConfig.model_validate(
        {"task": "time-series-forecasting", "architecture": {"cell": cell, **TINY}, "data": data}
    )
    network = ForecastingNetwork(config, Randomness(0, CPU)).double()
    random = torch.Generator().manual_seed(1)
    # The head starts at zero, where its inner gradients vanish.
    nn.init.normal_(network.head.out.weight, generator=random)
    shape = WindowShape.of(data)
    x = torch.randn(2, 4, shape.input_features, generator=random, dtype=torch.float64)
    future = torch.randn(2, 3, shape.future_features, generator=random, dtype=torch.float64)
    target = torch.randn(2, 3, generator=random, dtype=torch.float64)
    mask = torch.tensor([[True, True, False], [True, False, True]])
    levels = torch.linspace(0.1, 0.9, 13, dtype=torch.float64)
    return network, lambda net: forecast_loss(net(x, future), target, mask, levels)


def classification_case(cell: str) -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    config = ClassificationConfig.model_validate(
        {"task": "text-classification", "architecture": {"cell": cell, "embedding_size": 2, **TINY}}
    )
    network = ClassificationNetwork(config, 7, 3, Randomness(0, CPU)).double()
    tokens_bt = torch.tensor([[2, 3, 4, 5], [6, 2, 0, 0]])
    lengths_b = torch.tensor([4, 2])
    return network, lambda net: nn.functional.cross_entropy(
        net(tokens_bt, lengths_b), torch.tensor([0, 2])
    )


def generation_case(cell: str) -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    config = GenerationConfig.model_validate(
        {
            "task": "text-generation",
            "architecture": {"cell": cell, "embedding_size": 3, "layer_norm": True, **TINY},
        }
    )
    network = GenerationNetwork(config, Randomness(0, CPU)).double()
    tokens_bt = torch.tensor([[1, 2, 3], [4, 5, 6]])
    return network, lambda net: nn.functional.cross_entropy(
        net(tokens_bt)[0].flatten(0, 1), torch.tensor([2, 3, 4, 5, 6, 7])
    )


@pytest.mark.parametrize("case", [forecasting_case, classification_case, generation_case])
@pytest.mark.parametrize("cell", get_args(CellName))
def test_gradients_agree_with_finite_differences(
    case: Callable[[str], tuple[nn.Module, Callable[[nn.Module], Tensor]]], cell: str
) -> None:
    network, loss_of = case(cell)
    network.eval()  # nothing is dropped
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():  # away from zeros, where rectifiers have no slope
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=random, dtype=torch.float64)
    loss_of(network).backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        direction = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
        start, step = parameter.detach().clone(), 1e-6
        with torch.no_grad():
            parameter.copy_(start + step * direction)
            above = loss_of(network)
            parameter.copy_(start - step * direction)
            below = loss_of(network)
            parameter.copy_(start)
        slope = float((above - below) / (2 * step))
        expected = float((parameter.grad * direction).sum())
        assert slope == pytest.approx(expected, rel=1e-4, abs=1e-7), name
