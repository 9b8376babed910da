"""What the machine itself allows for a step: its weights over the bandwidth, its products over the
peak. No engine can be faster; the distance says how much is left."""

import itertools
import math

from benchmarks.kernels.machine import Machine
from benchmarks.kernels.measure import Row
from benchmarks.kernels.networks import SHAPES, GenerationShape

WEIGHT_BYTES = {"f32": 4, "bf16": 2, "int8": 1}


def weights_of_a_step(shape: GenerationShape) -> int:
    """Weights that a step multiplies with; the first layer's input product is looked up."""
    gates = 4 * shape.hidden_size * shape.hidden_size
    return gates * (2 * shape.num_layers - 1) + shape.vocabulary * shape.hidden_size


def rows(machine: Machine, measured: list[Row]) -> list[Row]:
    """A limit for each precision at every generation work that was measured."""
    found: list[Row] = []
    works = dict.fromkeys((row.section, row.work, row.unit) for row in measured)
    most = max((int(threads) for threads in machine.peaks), default=0)
    for section, work, unit in works:
        if section not in ("generation", "streams") or not most:
            continue
        name, last = work.split()
        threads = min(int(last[1:]), most) if section == "generation" else most
        batch = 1 if section == "generation" else int(last)
        for precision, width in WEIGHT_BYTES.items():
            seconds = _seconds(machine, SHAPES[name], precision, width, batch, threads)
            figure = 1e6 * seconds if unit == "us/step" else batch / seconds
            found.append(Row(section, work, f"limit of the machine, {precision}", unit, figure))
    return found


def _seconds(
    machine: Machine,
    shape: GenerationShape,
    precision: str,
    width: int,
    batch: int,
    threads: int,
) -> float:
    weights = weights_of_a_step(shape)
    reading = weights * width / (1e9 * bandwidth(machine, weights * width, threads))
    peak = machine.peaks[str(threads)][precision] or machine.peaks[str(threads)]["f32"]
    return max(reading, 2 * weights * batch / (1e9 * peak))


def bandwidth(machine: Machine, size: float, threads: int) -> float:
    """GB/s for a working set of `size` bytes, between the two measured nearest to it."""
    points = [(math.log(read["kib"] * 1024), read[str(threads)]) for read in machine.reads]
    place = math.log(size)
    for (left, low), (right, high) in itertools.pairwise(points):
        if left <= place <= right:
            return low + (high - low) * (place - left) / (right - left)
    return points[0][1] if place < points[0][0] else points[-1][1]
