"""The predictors without HTTP, a request's input at a time, in a process of their own.

    .venv/bin/python -m benchmarks.serving.bare --model FOLDER --threads 1 --seconds 3 < inputs.json

Inputs are texts, or series for a forecaster; the answer has p50 and p99 of a call in milliseconds.
"""

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from benchmarks.serving.load import ROOT, Times
from benchmarks.serving.networks import ASKED_LEVELS, HORIZON
from rnn.checkpoint import load_model
from rnn.classification.predictor import Classifier
from rnn.forecasting.predictor import Forecaster

WARM_UP_CALLS = 20


def measured(
    model: Path, inputs: Sequence[object], *, threads: int, seconds: float
) -> dict[str, float]:
    """p50 and p99 of a call."""
    command = [sys.executable, "-m", "benchmarks.serving.bare", "--model", str(model)]
    command += ["--threads", str(threads), "--seconds", str(seconds)]
    done = subprocess.run(
        command,
        input=json.dumps(inputs),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.bare")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load_model(options.model)
    levels = [float(level) for level in ASKED_LEVELS]
    taken: list[float] = []
    began = time.perf_counter()
    for given in itertools.cycle(json.load(sys.stdin)):
        start = time.perf_counter()
        if isinstance(model, Classifier):
            model.classify([given])
        elif isinstance(model, Forecaster):
            model.forecast([np.array(given)], HORIZON, levels)
        else:
            sys.exit("generation is measured by benchmarks.kernels")
        taken.append(time.perf_counter() - start)
        if len(taken) > WARM_UP_CALLS and time.perf_counter() - began > options.seconds:
            break
    times = Times.of(taken[WARM_UP_CALLS:])
    assert times is not None
    print(json.dumps(asdict(times)))


if __name__ == "__main__":
    main()
