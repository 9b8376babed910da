"""Greedy generation: time of a step of one stream, and tokens a second of many."""

import functools
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.kernels import onnx_engines, ours
from benchmarks.kernels.measure import Row, build, interleaved, say
from benchmarks.kernels.networks import SHAPES, TorchGeneration, generation_network
from benchmarks.kernels.torch_engines import (
    Engine,
    compiled,
    dynamic_int8,
    prepacked,
    stepped_lstm,
    stepper,
)
from rnn.generation.network import GenerationNetwork

STREAMS = {"S": (1, 4, 16, 64, 256), "L": (1, 16, 64, 256)}
COMPARED_STEPS = 12
STEPS_PER_CALL = 64


def single(threads: int, *, quick: bool, compile_too: bool) -> list[Row]:
    """Microseconds of a step at batch 1."""
    rows = []
    for shape in SHAPES:
        work = f"{shape} T{threads}"
        rows += _measure("generation", work, shape, 1, threads, quick, compile_too, "us/step")
    return rows


def streams(threads: int, *, quick: bool, compile_too: bool) -> list[Row]:
    """Tokens a second of streams that step together."""
    rows = []
    for shape, batches in STREAMS.items():
        for batch in batches[:: 2 if quick else 1]:
            work, compile_here = f"{shape} {batch}", compile_too and batch in (1, 64)
            rows += _measure(
                "streams", work, shape, batch, threads, quick, compile_here, "tokens/s"
            )
    return rows


def _measure(
    section: str,
    work: str,
    shape: str,
    batch: int,
    threads: int,
    quick: bool,
    compile_too: bool,
    unit: str,
) -> list[Row]:
    say(f"{section}: {work}")
    network = generation_network(SHAPES[shape])
    makers = _makers(network, shape, batch, threads, compile_too)
    if batch == 1 and section == "generation":
        for name, precision in ours.PRECISIONS.items():
            makers[f"ours {name}, {STEPS_PER_CALL} tokens a call"] = functools.partial(
                ours.stepped, network, 1, precision, steps_per_call=STEPS_PER_CALL
            )
    torch.compiler.reset()  # it remembers, and counts, what earlier shapes compiled
    engines, failed = build(makers)
    agreement = _agreement(engines)
    steps = {name: STEPS_PER_CALL if "a call" in name else 1 for name in engines}
    calls = {name: functools.partial(engine, steps[name]) for name, engine in engines.items()}
    repetitions = 3 if quick else 9 if section == "generation" else 5
    timings = interleaved(calls, repetitions=repetitions, seconds=0.05 if quick else 0.15)
    rows = [
        timing.row(section, work, name, unit=unit, items=steps[name] * batch)
        for name, timing in timings.items()
    ]
    rows = [Row(**{**row.as_json(), "note": agreement[row.engine]}) for row in rows]
    return rows + [
        Row(section, work, name, unit, None, note=reason) for name, reason in failed.items()
    ]


def _makers(
    network: GenerationNetwork, shape: str, batch: int, threads: int, compile_too: bool
) -> dict[str, Callable[[], Engine]]:
    vocabulary = SHAPES[shape].vocabulary
    model = TorchGeneration(network).eval()
    part = functools.partial
    makers: dict[str, Callable[[], Engine]] = {
        "nn.LSTM, oneDNN on": part(stepped_lstm, model, batch, vocabulary, onednn=True),
        "nn.LSTM, oneDNN off": part(stepped_lstm, model, batch, vocabulary, onednn=False),
        "gates by hand (rnn.stepper)": part(stepper, network, batch),
        "oneDNN prepacked f32": part(prepacked, network, batch, torch.float32),
        "oneDNN prepacked bf16": part(prepacked, network, batch, torch.bfloat16),
        "torch dynamic int8": part(dynamic_int8, model, batch, vocabulary),
    }
    if compile_too:
        makers["torch.compile f32"] = part(compiled, network, batch, torch.float32)
        makers["torch.compile bf16"] = part(compiled, network, batch, torch.bfloat16)
    for form, operator in (("operator", True), ("products", False)):
        for precision, int8 in (("f32", False), ("int8", True)):
            makers[f"ONNX Runtime {precision}, LSTM {form}"] = part(
                onnx_engines.stepped, network, batch, threads, operator=operator, int8=int8
            )
    for name, precision in ours.PRECISIONS.items():
        makers[f"ours {name}"] = part(ours.stepped, network, batch, precision)
    return makers


def _agreement(engines: dict[str, Engine]) -> dict[str, str]:
    """How many of its first tokens each engine shares with the first engine."""
    first: np.ndarray | None = None
    notes = {}
    for name, engine in engines.items():
        if "a call" in name:
            notes[name] = ""
            continue
        drawn = np.array([engine(1) for _ in range(COMPARED_STEPS)])
        if first is None:
            first = drawn
        # Once two texts differ, all that follows does.
        same = [_equal_steps(drawn[:, row], first[:, row]) for row in range(drawn.shape[1])]
        notes[name] = f"first {np.mean(same):.0f} of {COMPARED_STEPS} tokens as torch's"
    return notes


def _equal_steps(drawn: np.ndarray, expected: np.ndarray) -> int:
    different = np.flatnonzero(drawn != expected)
    return int(different[0]) if len(different) else len(drawn)
