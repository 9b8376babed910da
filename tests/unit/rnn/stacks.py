"""Stacks of every cell and connection, with weights that are all different."""

from collections.abc import Mapping
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from rnn.config import ArchitectureConfig, CellName
from rnn.determinism import Randomness
from rnn.stack import RecurrentStack
from rnn.state import HiddenState

INPUTS, HIDDEN = 5, 8
LENGTHS_B = torch.tensor([6, 1, 4, 3])

CELLS: dict[str, dict[str, Any]] = {
    **{cell: {"cell": cell} for cell in get_args(CellName)},
    "peephole": {"peephole": True},
    "mogrifier": {"mogrifier_rounds": 3},
    "zoneout": {"zoneout": 0.3},
    "gru zoneout": {"cell": "gru", "zoneout": 0.3},
}
CONNECTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "residual": {"residual": True},
    "dense": {"dense": True},
    "pre_norm": {"pre_norm": True, "residual": True},
    "sum": {"output_layers": "sum"},
    "layer_norm": {"layer_norm": True},
    "all": {"dense": True, "pre_norm": True, "layer_norm": True, "output_layers": "sum"},
}
NATIVE_CELLS = {"rnn_tanh", "rnn_relu", "lstm", "gru", "mingru", "minlstm"}
NATIVE_CONNECTIONS = {"plain", "residual", "layer_norm"}

every_cell = pytest.mark.parametrize("cell", list(CELLS))
every_connection = pytest.mark.parametrize("connection", list(CONNECTIONS))


def architecture(cell: str, connection: str, **options: object) -> ArchitectureConfig:
    settings: Mapping[str, object] = {
        "num_layers": 3,
        "hidden_size": HIDDEN,
        "num_heads": 2,
        **CELLS[cell],
        **CONNECTIONS[connection],
        **options,
    }
    return ArchitectureConfig.model_validate(settings)


def random_stack(
    cell: str, connection: str, *, inputs: int = INPUTS, bidirectional: bool = False
) -> RecurrentStack:
    """In float64, for evaluation."""
    randomness = Randomness(0, torch.device("cpu"))
    config = architecture(cell, connection)
    stack = RecurrentStack(config, inputs, randomness, bidirectional=bidirectional)
    disturb(stack)
    return stack.double().eval()


@torch.no_grad()
def disturb(module: nn.Module) -> None:
    """Biases and norms start out as zeros and ones, which would hide how they are used."""
    noise = torch.Generator().manual_seed(7)
    for name, parameter in module.named_parameters():
        parameter += 0.2 * torch.randn(parameter.shape, generator=noise)
        if name.endswith("recurrent_weight_h"):
            parameter.clamp_(-0.9, 0.9)  # at an IndRNN's bound gradients of rows do not add up


def random_inputs(rows: int, timesteps: int, inputs: int = INPUTS) -> Tensor:
    noise = torch.Generator().manual_seed(3)
    return torch.randn(rows, timesteps, inputs, generator=noise, dtype=torch.float64)


def assert_same_state(actual: HiddenState, expected: HiddenState, **tolerance: float) -> None:
    torch.testing.assert_close(actual.hidden_lbh, expected.hidden_lbh, **tolerance)
    assert (actual.memory_lbm is None) == (expected.memory_lbm is None)
    if actual.memory_lbm is not None:
        torch.testing.assert_close(actual.memory_lbm, expected.memory_lbm, **tolerance)
