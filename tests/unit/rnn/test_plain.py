"""The recurrences in pure torch where torch would choose the precision."""

import pytest
import torch

from rnn.cells import CELLS, CellState, CellWeights
from rnn.config import GATES_PER_CELL, MINIMAL_CELLS, CellName
from rnn.plain import run_direction


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("cell", list(CELLS))
def test_autocast_rounds_products_alone(cell: CellName, device: str) -> None:
    """Long memories were lost: a decay near 1 in bfloat16 is 1, or much less."""
    noise = torch.Generator().manual_seed(0)
    gates = 4 * GATES_PER_CELL[cell]
    recurrent: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None)
    if cell not in MINIMAL_CELLS:
        weight_gh = 0.1 * torch.randn(gates, 4, generator=noise)
        recurrent = (weight_gh, torch.randn(gates, generator=noise))
    weight_gd = torch.randn(gates, 3, generator=noise)
    # A forget gate that stays open, or an update gate that stays closed.
    bias_g = torch.full((gates,), -6.0) if cell == "mingru" else torch.full((gates,), 6.0)
    weights = CellWeights(weight_gd, recurrent[0], bias_g, recurrent[1])
    x_btd = torch.randn(2, 300, 3, generator=noise)
    start_bh = torch.randn(2, 4, generator=noise)
    start = CellState(start_bh, start_bh if cell == "lstm" else None)
    lengths_b = torch.tensor([300, 200])
    exact_bth, exact = run_direction(cell, weights, x_btd, start, lengths_b)

    def there(part: torch.Tensor | None) -> torch.Tensor | None:
        return None if part is None else part.to(device)

    inputs = CellWeights(*map(there, weights)), x_btd.to(device), CellState(*map(there, start))
    with torch.autocast(device, torch.bfloat16):
        y_bth, end = run_direction(cell, *inputs, lengths_b.to(device))
    for ours, exactly in zip((y_bth, *end), (exact_bth, *exact), strict=True):
        if ours is not None and exactly is not None:
            assert ours.dtype == torch.float32
            tolerance = 2e-2 if device == "cuda" or cell in MINIMAL_CELLS else 1e-6
            torch.testing.assert_close(ours.cpu(), exactly, rtol=tolerance, atol=tolerance)
