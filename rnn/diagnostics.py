"""Looks into a training: gradients along time, gates, recurrent matrices, units, updates.

A look draws no random number and changes no weight, gradient or state: a training is bit for bit
the same with and without it.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rnn.config import CellName
from rnn.events import LayerFigures
from rnn.layers import RecurrentLayer
from rnn.probe import LayerReading, Probe
from rnn.recurrences.indrnn import IndRNN
from rnn.recurrences.recurrence import Recurrence
from rnn.time_share import TimeShare
from rnn.work import Work, recurrent_stack

# Timesteps from the end of the rows at which gradients are looked at.
LAGS = tuple(2**power for power in range(11))
# A gate so near to 0 or 1 has less than a fifth of the slope that a sigmoid has at its middle.
SATURATED_BELOW, SATURATED_ABOVE = 0.05, 0.95
# A unit whose outputs differ by less over all rows and timesteps says nothing.
DEAD_RANGE = 1e-4
# Of the largest gradient of a layer: what is less is not felt beside it.
MEMORY_SHARE = 0.1
# Matrices up to this size have their eigenvalues computed; larger ones are multiplied out.
_EIGENVALUES_UP_TO = 64
_POWER_ROUNDS, _POWER_SETTLING = 60, 20

# Parts of the recurrent matrix, in the order in which they are stacked: of the cells that
# `rnn.kernels` has, and of the other recurrences, which all have an LSTM's gates.
_GATES: dict[CellName, tuple[str, ...]] = {
    "rnn_tanh": ("hidden",),
    "rnn_relu": ("hidden",),
    "lstm": ("in_gate", "forget_gate", "cell_gate", "out_gate"),
    "gru": ("reset_gate", "update_gate", "new_gate"),
}
_RECURRENCE_GATES: tuple[str, ...] = ("in_gate", "forget_gate", "out_gate", "cell_gate")

# Of the training time, which the looks may take.
MOST_TIME = 0.03
# Steps of training that the first look is expected to take, for want of a measurement.
_FIRST_LOOK_STEPS = 4.0

Weights = list[dict[str, Tensor]]  # of each layer


class LookTimes(TimeShare):
    """When to look: at the interval, and only where the time for it is earned."""

    def __init__(self, interval: int | None) -> None:
        super().__init__(MOST_TIME, _FIRST_LOOK_STEPS)
        self._interval = interval

    def due(self, step: int) -> bool:
        return self._interval is not None and step % self._interval == 0


def layer_weights(work: Work) -> Weights:
    """A copy of the weights of each recurrent layer, to tell later how far a step moved them."""
    return [
        {name: parameter.detach().clone() for name, parameter in layer.named_parameters()}
        for layer in recurrent_stack(work).recurrent_layers()
    ]


def look(work: Work, weights_before: Weights) -> list[LayerFigures]:
    """The figures of each recurrent layer, first to last.

    Args:
        weights_before: those of before the last step.
    """
    stack = recurrent_stack(work)
    probe = Probe(LAGS)
    with _undisturbed(work.network):
        norms = probe.gradient_norms(work.probe_loss(probe))
    figures = []
    with torch.no_grad():
        for index, layer in enumerate(stack.recurrent_layers()):
            reading = probe.readings[index]
            by_lag = norms.get(index, {})
            figures.append(
                LayerFigures(
                    layer=index + 1,
                    gradient_norms=by_lag,
                    effective_memory=effective_memory(by_lag),
                    gate_saturation=_saturation(layer, reading),
                    spectral_radius={
                        name: spectral_radius(matrix)
                        for name, matrix in recurrent_matrices(layer).items()
                    },
                    dead_units=_dead_share(reading.y_bth),
                    update_ratio=_update_ratio(layer, weights_before[index]),
                )
            )
    return figures


def effective_memory(norms_by_lag: dict[int, float]) -> int | None:
    """The longest of the lags whose gradient is still felt beside the largest one; None where no
    gradient came."""
    largest = max(norms_by_lag.values(), default=0.0)
    if not 0 < largest < math.inf:
        return None
    return max(lag for lag, norm in norms_by_lag.items() if norm >= MEMORY_SHARE * largest)


def spectral_radius(matrix: Tensor) -> float:
    """The largest absolute eigenvalue of a matrix [H, H], of several [N, H, H], or of the diagonal
    matrix of a vector [H].

    Of a large matrix it is the rate at which its powers make vectors grow (Gelfand's formula), to
    about one part in a hundred.
    """
    matrix = matrix.detach().double()
    if not matrix.isfinite().all():
        return math.nan
    if matrix.ndim == 1:
        return float(matrix.abs().max())
    if matrix.shape[-1] <= _EIGENVALUES_UP_TO:
        return float(torch.linalg.eigvals(matrix).abs().max())
    # Several starts, so that none lies across the directions that grow.
    generator = torch.Generator().manual_seed(0)
    starts = torch.randn(matrix.shape[-1], 4, generator=generator, dtype=torch.float64)
    vectors, growth = starts.to(matrix.device), 0.0
    for round_ in range(_POWER_ROUNDS):
        vectors = matrix @ vectors
        norm = float(vectors.norm())
        if norm == 0:
            return 0.0
        vectors = vectors / norm
        if round_ >= _POWER_SETTLING:
            growth += math.log(norm)
    return math.exp(growth / (_POWER_ROUNDS - _POWER_SETTLING))


def recurrent_matrices(layer: RecurrentLayer) -> dict[str, Tensor]:
    """What the forward direction multiplies its hidden state with, by gate: [H, H]; a matrix for
    each group of units [N, H / N, H / N]; or a factor for each unit [H]. Empty for cells whose
    gates do not read the hidden state."""
    parameters = layer.forwards
    if isinstance(parameters, IndRNN):
        return {"hidden": parameters.recurrent_weight_h}
    weight: Tensor | None
    if isinstance(parameters, Recurrence):
        names, gates = parameters.recurrent_matrices, _RECURRENCE_GATES
        weight = parameters.get_parameter(names[0]) if names else None
    else:
        weight, gates = layer.weights().recurrent_weight_gh, _GATES.get(layer.cell, ())
    if weight is None:
        return {}
    return dict(zip(gates, weight.detach().chunk(len(gates), dim=-2), strict=True))


def _saturation(layer: RecurrentLayer, reading: LayerReading) -> dict[str, float]:
    """Share of activations that lie near 0 or 1, by gate."""
    gates = layer.gates(reading.x_btd, reading.hidden_before_bth)
    return {
        name: float(((gate < SATURATED_BELOW) | (gate > SATURATED_ABOVE)).double().mean())
        for name, gate in gates.items()
    }


def _dead_share(y_bth: Tensor) -> float:
    """Share of units that say the same in all rows at all timesteps."""
    flat_nh = y_bth.flatten(0, 1)
    return float((flat_nh.amax(0) - flat_nh.amin(0) < DEAD_RANGE).double().mean())


def _update_ratio(layer: nn.Module, before: dict[str, Tensor]) -> float:
    """How far the last step moved the layer's weights, as a share of their norm."""
    moved = squares = 0.0
    for name, parameter in layer.named_parameters():
        moved += float((parameter - before[name]).double().square().sum())
        squares += float(before[name].double().square().sum())
    return math.sqrt(moved / squares) if squares else 0.0


@contextmanager
def _undisturbed(network: nn.Module) -> Iterator[None]:
    """Inside: evaluation mode, float32, gradients of states alone. After it all is as before."""
    training = network.training
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    device_type = next(network.parameters()).device.type
    network.eval()
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        with torch.enable_grad(), torch.autocast(device_type, enabled=False):
            yield
    finally:
        for parameter in learning:
            parameter.requires_grad_()
        network.train(training)
