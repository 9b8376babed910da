"""Throughput of a preset: as a job over HTTP, and plain torch of the same shape beside it."""

import json
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import data as files
from benchmarks.quality.series import m4_upload
from benchmarks.quality.texts import sst2_upload
from benchmarks.service import Run, Service

ROOT = Path(__file__).resolve().parents[2]
FLOPS_A_WEIGHT = 6  # multiply and add: once forwards, twice on the way back
FIRST_REPORTS = 3  # of a job: not counted


@dataclass(frozen=True)
class Work:
    """A task on real data: what is uploaded, and what plain torch must know of it."""

    task: str
    title: str
    filename: str
    upload: Callable[[Path], bytes]
    texts: Callable[[Path], list[str]]  # of the training part; empty where lengths do not matter


def _no_texts(_data: Path) -> list[str]:
    return []


WORKS = {
    "generation": Work(
        "text-generation",
        "tinyshakespeare",
        "tinyshakespeare.txt",
        lambda data: files.tinyshakespeare(data).encode(),
        _no_texts,
    ),
    "classification": Work(
        "text-classification",
        "SST-2",
        "sst2.jsonl",
        lambda data: sst2_upload(data, phrases=False),
        lambda data: [text for text, _ in files.sst2(data, "train")],
    ),
    "forecasting": Work(
        "time-series-forecasting", "M4 Hourly", "m4-hourly.jsonl", m4_upload, _no_texts
    ),
}


@dataclass(frozen=True)
class Rates:
    """Timesteps a second of one preset.

    Attributes:
        ours: the median of what the job reported, its lowest and highest tenth.
        plain: of torch's modules, by precision.
        multiplied: weights that a timestep is multiplied by; of plain torch's network.
        per_item: timesteps of one series, where series are counted; else 1.
    """

    work: str
    preset: str
    ours: tuple[float, float, float]
    plain: dict[str, float]
    multiplied: int
    per_item: int
    shape: str

    def share_of_peak(self, gigaflops: float) -> float:
        """What the products alone come to, as a share of the machine's peak."""
        return self.ours[0] * self.multiplied * FLOPS_A_WEIGHT / (gigaflops * 1e9)


def measure(
    service: Service, name: str, preset: str, data: Path, *, seconds: float, threads: int
) -> Rates:
    """First the job, then plain torch by itself."""
    work = WORKS[name]
    run = Run(f"{name}-{preset}")
    dataset = service.upload(work.filename, work.upload(data))
    service.train(
        run,
        dataset,
        work.task,
        preset=preset,
        device="cpu",
        training={"max_minutes": seconds / 60},
    )
    reports = run.measurements("step")
    reported = [event["data"].get("timesteps_per_second") for event in reports]
    found = [rate for rate in reported[FIRST_REPORTS:] if rate]
    if len(found) < 2:
        sys.exit(f"{run.name}: too few reports in {seconds:.0f} s; give it more")
    tenths = statistics.quantiles(found, n=10)
    config = run.job["config"]
    plain = _plain(config, work.texts(data), seconds=seconds, threads=threads)
    return Rates(
        name,
        preset,
        (statistics.median(found), tenths[0], tenths[-1]),
        plain["rates"],
        plain["multiplied"],
        config["data"]["context_length"] if name == "forecasting" else 1,
        _shape(config),
    )


def _plain(
    config: dict[str, Any], texts: list[str], *, seconds: float, threads: int
) -> dict[str, Any]:
    data = config["data"]
    counts = Counter(word for text in texts for word in text.split())
    frequent = sum(count >= data.get("min_frequency", 1) for count in counts.values())
    asked = {
        "config": config,
        "lengths": [len(text.split()) for text in texts],
        "vocabulary": min(frequent, data.get("vocabulary_size", frequent)),
    }
    command = [sys.executable, "-m", "benchmarks.training.plain"]
    command += ["--threads", str(threads), "--seconds", str(seconds)]
    done = subprocess.run(
        command, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _shape(config: dict[str, Any]) -> str:
    chosen, training = config["architecture"], config["training"]
    shape = f"{chosen['cell']} {chosen['num_layers']}x{chosen['hidden_size']}"
    if chosen.get("bidirectional"):
        shape += " in both directions"
    return f"{shape}, batch {training['batch_size']}, {training['optimizer']}"
