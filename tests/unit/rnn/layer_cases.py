"""Layers of every kind with weights that are all different, and the reference that they are held
to."""

from collections.abc import Mapping
from typing import get_args

import pytest
import torch
from torch import Tensor

from rnn.cells import CELLS, CellState
from rnn.config import ArchitectureConfig, CellName
from rnn.determinism import Randomness
from rnn.layers import RecurrentLayer
from rnn.recurrences.recurrence import Recurrence

ZONEOUT = 0.3
KINDS: dict[str, Mapping[str, object]] = {
    **{cell: {"cell": cell} for cell in get_args(CellName)},
    "peephole": {"peephole": True},
    "mogrifier": {"mogrifier_rounds": 3},
    "peephole mogrifier": {"peephole": True, "mogrifier_rounds": 4},
    **{
        f"{cell} zoneout": {"cell": cell, "zoneout": ZONEOUT}
        for cell in get_args(CellName)
        if cell != "mlstm"
    },
}
every_kind = pytest.mark.parametrize("kind", list(KINDS))


def randomness(seed: int = 0) -> Randomness:
    return Randomness(seed, torch.device("cpu"))


def config_of(kind: str, hidden: int, **options: object) -> ArchitectureConfig:
    settings = {"hidden_size": hidden, "num_heads": 1, **KINDS[kind], **options}
    return ArchitectureConfig.model_validate(settings)


def random_layer(
    config: ArchitectureConfig, inputs: int, *, bidirectional: bool = False
) -> RecurrentLayer:
    """In float64, for evaluation."""
    layer = RecurrentLayer(config, inputs, randomness(), bidirectional=bidirectional)
    noise = torch.Generator().manual_seed(inputs + config.hidden_size)
    for name, parameter in layer.named_parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=noise)
        if name.endswith("recurrent_weight_h"):
            parameter.data.clamp_(-0.9, 0.9)  # an IndRNN's bound has a test of its own
    return layer.double().eval()


def random_state(layer: RecurrentLayer, batch: int) -> CellState:
    zeros, noise = layer.initial_state(batch), torch.Generator().manual_seed(batch)
    hidden_bh = torch.randn(zeros.hidden_bh.shape, generator=noise, dtype=torch.float64)
    if zeros.memory_bm is None:
        return CellState(hidden_bh)
    memory_bm = torch.randn(zeros.memory_bm.shape, generator=noise, dtype=torch.float64)
    # What a normaliser has summed up is positive.
    return CellState(hidden_bh, memory_bm.abs() if layer.cell == "slstm" else memory_bm)


def random_input(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def by_equations(
    layer: RecurrentLayer, x_btd: Tensor, state: CellState, *, backwards: bool = False
) -> tuple[Tensor, CellState]:
    """One direction of the reference, one timestep after the other."""
    parameters = layer.backwards if backwards else layer.forwards
    outputs = []
    for x_bd in x_btd.unbind(1):
        before = state
        if isinstance(parameters, Recurrence):
            state = parameters.cell(x_bd, before)
        else:
            state = CELLS[layer.cell](x_bd, before, layer.weights(backwards=backwards))
        if layer.zoneout:
            state = zoned_out(before, state)
        outputs.append(state.hidden_bh)
    return torch.stack(outputs, dim=1), state


def zoned_out(before: CellState, after: CellState) -> CellState:
    hidden_bh = ZONEOUT * before.hidden_bh + (1 - ZONEOUT) * after.hidden_bh
    if after.memory_bm is None or after.memory_bm.shape != hidden_bh.shape:
        return CellState(hidden_bh, after.memory_bm)
    assert before.memory_bm is not None
    return CellState(hidden_bh, ZONEOUT * before.memory_bm + (1 - ZONEOUT) * after.memory_bm)


def paper_parts(layer: RecurrentLayer, state: CellState) -> list[Tensor]:
    """The state as the paper has it: without the stabiliser, which is free to be anything."""
    hidden_bh, memory_bm = state
    if memory_bm is None:
        return [hidden_bh]
    if layer.cell == "slstm":
        cell_bh, normaliser_bh, stabiliser_bh = memory_bm.chunk(3, dim=1)
        scale_bh = stabiliser_bh.exp()
        return [hidden_bh, cell_bh * scale_bh, normaliser_bh * scale_bh]
    if layer.cell == "mlstm":
        heads = layer.forwards.num_heads
        stabiliser_bn = memory_bm[:, -heads:]
        scale_bn1 = stabiliser_bn.exp()[:, :, None]
        size = hidden_bh.shape[1] // heads
        matrix_bnk, normaliser_bnk = memory_bm[:, :-heads].split(
            [heads * size * size, heads * size], dim=1
        )
        rows = len(hidden_bh)
        return [
            hidden_bh,
            matrix_bnk.reshape(rows, heads, -1) * scale_bn1,
            normaliser_bnk.reshape(rows, heads, -1) * scale_bn1,
        ]
    return [hidden_bh, memory_bm]


def assert_same_state(actual: CellState, expected: CellState) -> None:
    torch.testing.assert_close(actual.hidden_bh, expected.hidden_bh)
    assert (actual.memory_bm is None) == (expected.memory_bm is None)
    if actual.memory_bm is not None:
        torch.testing.assert_close(actual.memory_bm, expected.memory_bm)
