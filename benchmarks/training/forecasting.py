"""Fit and predict on M4 Hourly: a preset over HTTP, and NeuralForecast's LSTM."""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.quality import figures
from benchmarks.quality.series import M4_HORIZON, M4_SEASON, m4_hourly, m4_upload
from benchmarks.service import Run, Service
from benchmarks.training.presets import ROOT

PEER = Path(__file__).with_name("neuralforecast_m4.py")


@dataclass(frozen=True)
class Fit:
    """One forecaster: seconds to fit, seconds to predict all series, MASE on the test part."""

    name: str
    fit_seconds: float
    predict_seconds: float
    mase: float

    @property
    def seconds(self) -> float:
        return self.fit_seconds + self.predict_seconds


def ours(service: Service, preset: str, minutes: float | None, data: Path) -> Fit:
    """From the submission of the job to its end, then one request for all series."""
    run = Run(f"m4-{preset}")
    training = {} if minutes is None else {"training": {"max_minutes": minutes}}
    service.train(
        run,
        service.upload("m4-hourly.jsonl", m4_upload(data)),
        "time-series-forecasting",
        preset=preset,
        device="cpu",
        **training,
    )
    train, _ = m4_hourly(data)
    began = time.perf_counter()
    answer = service.post(
        "/forecasts",
        model=run.name,
        series=[values.tolist() for values in train.values()],
        horizon=M4_HORIZON,
        quantiles=[0.5],
    )
    seconds = time.perf_counter() - began
    medians = [forecast["quantiles"]["0.5"] for forecast in answer["forecasts"]]
    limit = "" if minutes is None else f", at most {minutes:g} minutes"
    return Fit(f"preset {preset}{limit}", run.seconds, seconds, mase(medians, data))


def neuralforecast(python: str, steps: int | None, threads: int, data: Path) -> Fit:
    """Under the Python that has it. The start of the process does not count."""
    train, _ = m4_hourly(data)
    asked = {
        "series": [values.tolist() for values in train.values()],
        "horizon": M4_HORIZON,
        "steps": steps,
    }
    done = subprocess.run(
        [python, str(PEER), "--threads", str(threads)],
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    limit = "" if steps is None else f", {steps} steps"
    return Fit(
        f"NeuralForecast {answer['version']} LSTM{limit}",
        answer["fit_seconds"],
        answer["predict_seconds"],
        mase(answer["forecasts"], data),
    )


def mase(forecasts: list[list[float]], data: Path) -> float:
    """Of forecasts in the order of the series."""
    train, truth_bh = m4_hourly(data)
    scale_b = figures.seasonal_scale(list(train.values()), M4_SEASON)
    return figures.mase(np.array(forecasts), truth_bh, scale_b)
