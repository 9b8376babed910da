"""Distributions against brute force: densities that sum to one, quantiles that invert them."""

import numpy as np
import pytest
import torch

from rnn.config import QUANTILE_LEVELS
from rnn.config.forecasting import DistributionName
from rnn.forecasting.coding import CodedWindows
from rnn.forecasting.distributions import DISTRIBUTIONS, interpolated
from rnn.forecasting.scale import WindowScale
from rnn.forecasting.sizes import OUTPUTS
from rnn.forecasting.targets import Targets, Units

CPU = torch.device("cpu")
LEVELS = np.array([[0.01, 0.025, 0.2, 0.5, 0.9, 0.975, 0.99]])


def coded(rows: int, horizon: int, *, base: float = 0.0, level: float = 0.0) -> CodedWindows:
    """Windows of size 1 whose base and location are the same everywhere."""
    base_bh = np.full((rows, horizon), base)
    nothing = np.zeros((rows, 1, 1), dtype=np.float32)
    scale = WindowScale(np.full(rows, level), np.ones(rows))
    return CodedWindows(nothing, nothing, base_bh, base_bh, scale)


def densities(name: DistributionName, outputs_o: list[float], truth: np.ndarray) -> np.ndarray:
    """Of each true value, from the loss of a batch of one."""
    outputs = torch.tensor([[outputs_o]], dtype=torch.float64)
    found = []
    for value in truth:
        windows = coded(1, 1, base=20.0, level=20.0)
        targets = Targets.of(windows, np.array([[value]]), CPU)
        found.append(float(torch.exp(-DISTRIBUTIONS[name].loss(outputs, targets))))
    return np.array(found)


@pytest.mark.parametrize("outputs", [[0.0, 0.0, -3.0], [2.0, 1.5, 0.0], [-1.0, -2.0, 60.0]])
def test_student_t_quantiles_invert_the_density_of_its_loss(outputs: list[float]) -> None:
    units = Units.of(coded(1, 1, base=20.0, level=20.0))
    numbers = np.array([[outputs]])
    quantiles_q = DISTRIBUTIONS["student_t"].quantiles(numbers, units, LEVELS)[0, 0]
    size = np.logaddexp(0, outputs[1])
    centre = 20 + outputs[0]
    # From far in the left tail, where hardly anything is left.
    grid = centre + size * np.sinh(np.linspace(-11, 11, 1201))
    density = densities("student_t", outputs, grid)
    steps = np.diff(grid) * (density[1:] + density[:-1]) / 2
    reached = np.interp(quantiles_q, grid, np.concatenate([[0], np.cumsum(steps)]))
    np.testing.assert_allclose(reached, LEVELS[0], atol=1e-4)
    mean = DISTRIBUTIONS["student_t"].mean(numbers, units)[0, 0]
    assert mean == centre == pytest.approx(quantiles_q[3])


@pytest.mark.parametrize("outputs", [[0.0, 0.0], [-10.0, 3.0], [30.0, 5.0], [400.0, 1.0]])
def test_negative_binomial_quantiles_are_the_smallest_counts_that_reach_the_level(
    outputs: list[float],
) -> None:
    units = Units.of(coded(1, 1, base=20.0, level=20.0))
    numbers = np.array([[outputs]])
    quantiles_q = DISTRIBUTIONS["negative_binomial"].quantiles(numbers, units, LEVELS)[0, 0]
    mean = DISTRIBUTIONS["negative_binomial"].mean(numbers, units)[0, 0]
    count = np.arange(0, int(30 * mean) + 200, dtype=np.float64)
    stride = max(1, len(count) // 4000)
    density = densities("negative_binomial", outputs, count[::stride])
    density = np.interp(count, count[::stride], density)
    assert density.sum() == pytest.approx(1, abs=2e-3)
    assert (density * count).sum() == pytest.approx(mean, rel=5e-3)
    exact = np.array([np.argmax(np.cumsum(density) >= level) for level in LEVELS[0]])
    np.testing.assert_allclose(quantiles_q, exact, rtol=0.01, atol=1)


def test_a_count_forecast_starts_at_its_base() -> None:
    units = Units.of(coded(1, 2, base=37.0, level=12.0))
    mean_bh = DISTRIBUTIONS["negative_binomial"].mean(np.zeros((1, 2, 2)), units)
    np.testing.assert_allclose(mean_bh, 37, rtol=1e-6)


@pytest.mark.parametrize("name", list(OUTPUTS))
def test_masked_truth_changes_neither_loss_nor_gradient(name: DistributionName) -> None:
    distribution = DISTRIBUTIONS[name]

    def loss_and_gradient(truth_bh: np.ndarray) -> tuple[float, torch.Tensor]:
        outputs = torch.full((2, 2, OUTPUTS[name]), 0.3, requires_grad=True)
        targets = Targets.of(coded(2, 2, base=4.0, level=3.0), truth_bh, CPU)
        loss = distribution.loss(outputs, targets)
        (gradient,) = torch.autograd.grad(loss, outputs)
        return loss.item(), gradient

    loss, gradient = loss_and_gradient(np.array([[1.0, 6.0], [2.0, np.nan]]))
    both = [loss_and_gradient(np.array([row, row]))[0] for row in ([1.0, 6.0], [2.0, 2.0])]
    assert loss == pytest.approx((2 * both[0] + both[1]) / 3, rel=1e-5)
    assert torch.isfinite(gradient).all()
    assert not gradient[1, 1].any()
    assert gradient[1, 0].any()


def test_a_point_is_the_median() -> None:
    truth_bh = np.array([[0.2, 0.3, 9.0]])
    outputs = torch.zeros(1, 3, 1, requires_grad=True)
    targets = Targets.of(coded(1, 3), truth_bh, CPU)
    for _ in range(200):
        loss = DISTRIBUTIONS["point"].loss(
            outputs.mean(dim=1, keepdim=True).expand(1, 3, 1), targets
        )
        (gradient,) = torch.autograd.grad(loss, outputs)
        outputs = (outputs - 0.02 * gradient).detach().requires_grad_()
    assert outputs.mean().item() == pytest.approx(0.3, abs=0.03)


def test_levels_between_trained_ones_are_interpolated() -> None:
    quantiles_bhn = np.array([[QUANTILE_LEVELS]])
    wanted = np.array([[0.025, 0.07, 0.5, 0.83, 0.975]])
    np.testing.assert_allclose(interpolated(quantiles_bhn, wanted)[0, 0], wanted[0])


@pytest.mark.parametrize("name", list(OUTPUTS))
def test_a_level_for_each_row_is_that_of_the_row_alone(name: DistributionName) -> None:
    distribution = DISTRIBUTIONS[name]
    numbers = np.random.default_rng(0).normal(size=(3, 2, OUTPUTS[name]))
    units = Units.of(coded(3, 2, base=9.0, level=5.0))
    level_b1 = np.array([[0.1], [0.5], [0.8]])
    together = distribution.quantiles(numbers, units, level_b1)
    for row in range(3):
        alone = distribution.quantiles(numbers, units, level_b1[row : row + 1])
        np.testing.assert_allclose(together[row], alone[row])


def test_large_counts_have_the_likelihood_of_their_neighbours() -> None:
    """In float32 the logarithms of gamma functions of a million differ by chance."""
    outputs = torch.zeros(1, 1, 2)
    losses = []
    for count in (1_000_000, 1_000_100, 1_000_200):
        windows = coded(1, 1, base=1e6, level=1e6)
        targets = Targets.of(windows, np.array([[float(count)]]), CPU)
        losses.append(float(DISTRIBUTIONS["negative_binomial"].loss(outputs, targets)))
    np.testing.assert_allclose(np.diff(losses), 0, atol=2e-3)
