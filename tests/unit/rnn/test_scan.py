"""Both ways of scanning against a loop over the definition."""

import pytest
import torch
from torch import Tensor

from rnn.scan import Scan, doubling_scan, linear_scan, sequential_scan

WAYS = [sequential_scan, doubling_scan]


def random_parts(batch: int, timesteps: int, hidden: int) -> tuple[Tensor, Tensor, Tensor]:
    noise = torch.Generator().manual_seed(timesteps)
    shape = (batch, timesteps, hidden)
    decay_bth = torch.rand(shape, generator=noise, dtype=torch.float64)
    addend_bth = torch.randn(shape, generator=noise, dtype=torch.float64)
    return decay_bth, addend_bth, torch.randn(batch, hidden, generator=noise, dtype=torch.float64)


@pytest.mark.parametrize("scan", WAYS)
@pytest.mark.parametrize("timesteps", [1, 2, 3, 8, 13])
def test_scan_is_the_recurrence(scan: Scan, timesteps: int) -> None:
    decay_bth, addend_bth, state_bh = random_parts(2, timesteps, 3)
    states_bth = linear_scan(decay_bth, addend_bth, state_bh, scan)
    for timestep in range(timesteps):
        state_bh = decay_bth[:, timestep] * state_bh + addend_bth[:, timestep]
        torch.testing.assert_close(states_bth[:, timestep], state_bh)


@pytest.mark.parametrize("scan", WAYS)
@pytest.mark.parametrize("timesteps", [1, 5])
def test_gradient_of_the_scan(scan: Scan, timesteps: int) -> None:
    parts = [part.requires_grad_() for part in random_parts(2, timesteps, 3)]
    assert torch.autograd.gradcheck(
        lambda decay, addend, start: linear_scan(decay, addend, start, scan), parts
    )


@pytest.mark.parametrize("scan", WAYS)
def test_decays_that_vanish_leave_no_trace_of_what_was_before(scan: Scan) -> None:
    decay_bth, addend_bth, start_bh = (part.float() for part in random_parts(1, 200, 1))
    decay_bth = decay_bth * 1e-3  # their products underflow
    states_bth = linear_scan(decay_bth, addend_bth, start_bh, scan)
    torch.testing.assert_close(states_bth, linear_scan(decay_bth, addend_bth, start_bh))
    assert states_bth.isfinite().all()


def test_nothing_is_kept_where_no_gradient_is_asked_for() -> None:
    assert linear_scan(*random_parts(1, 3, 2)).grad_fn is None
