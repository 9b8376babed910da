"""What waiting threads cost a training step: spinning or sleeping, alone or beside a busy process.

Measured in processes of their own, since OpenMP reads its settings once.
"""

import json
import os
import statistics
import subprocess
import sys
import time

import torch
from torch import nn

from benchmarks.kernels import ours
from benchmarks.kernels.measure import Row, say
from benchmarks.kernels.training import TokenModel, optimizer_step

WORKS = ("alone", "beside a busy process")
BUSY = "while True: pass"
CHILD = "import sys; from benchmarks.kernels.waiting import child; child(*sys.argv[1:])"


def waiting(threads: int, *, quick: bool, compile_too: bool) -> list[Row]:
    """Milliseconds of a step of text generation 2x256, batch 32, 128 timesteps."""
    del compile_too
    settings = {f"{threads} threads, {wait}": (threads, wait) for wait in ("active", "passive")}
    settings["1 thread"] = (1, "passive")
    rows = []
    for work in WORKS:
        found: dict[str, list[float]] = {}
        # Whole processes take turns, as repetitions do elsewhere.
        for _ in range(1 if quick else 3):
            for label, (count, wait) in settings.items():
                for engine in ("nn.LSTM f32", "ours f32", "ours bf16"):
                    say(f"waiting: {work}, {engine}, {label}")
                    times = _measured(engine, count, wait, work, quick)
                    found.setdefault(f"{engine}, {label}", []).extend(times)
        rows += [
            Row("waiting", work, name, "ms", statistics.median(times), min(times), max(times))
            if times
            else Row("waiting", work, name, "ms", None, note="not there")
            for name, times in found.items()
        ]
    return rows


def _measured(engine: str, threads: int, wait: str, work: str, quick: bool) -> list[float]:
    environment = {**os.environ, "OMP_WAIT_POLICY": wait.upper(), "OMP_NUM_THREADS": str(threads)}
    beside = None
    if work != "alone":
        beside = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, engine, str(threads), "3" if quick else "8"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return []
    finally:
        if beside is not None:
            beside.kill()
            beside.wait()
    found: list[float] = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else []
    return found


def child(engine: str, threads: str, steps: str) -> None:
    """Prints the milliseconds of each step as JSON."""
    torch.set_num_threads(int(threads))
    own, precision = engine.startswith("ours"), engine.split()[1]
    recurrence: nn.Module = nn.LSTM(128, 256, 2, batch_first=True)
    if own:
        sizes = [(128, 256), (256, 256)]
        recurrence = ours.TrainedStack("lstm", sizes, ours.TRAINING_PRECISIONS[precision])
    model = TokenModel(256, 128, recurrence, 256)
    tokens_bt = torch.randint(0, 256, (32, 129))
    step = optimizer_step(
        model, lambda: model(tokens_bt[:, :-1], tokens_bt[:, 1:]), autocast=precision == "bf16"
    )
    step()
    times = []
    for _ in range(int(steps)):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    print(json.dumps(times))
