"""Measured rows and the file that keeps them, so that each can be measured on a day of its own."""

import datetime as dt
import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.kernels.machine import processor

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Place:
    """Where and of what something was measured; `cores` are those that one job had."""

    machine: str
    cores: int
    commit: str
    day: str

    @classmethod
    def here(cls, device: str, at_once: int = 1) -> "Place":
        machine = processor()
        if device == "cuda":
            shown = _said("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
            machine = f"{shown.splitlines()[0]}, {machine}"
        commit = _said("git", "rev-parse", "--short", "HEAD")
        if _said("git", "status", "--porcelain", "--untracked-files=no"):
            commit += " and changes"
        cores = max(1, len(os.sched_getaffinity(0)) // at_once)
        return cls(machine, cores, commit, dt.datetime.now(dt.UTC).date().isoformat())


@dataclass(frozen=True)
class Measurement:
    """What one job of one benchmark showed.

    Attributes:
        allowed_minutes: what the job was given for its training.
        seconds: of the job, from its submission to its end.
        pretraining_seconds: of the job that it started from; 0 where there was none.
    """

    benchmark: str
    preset: str
    device: str
    seed: int
    figures: dict[str, float]
    allowed_minutes: float
    seconds: float
    steps: int
    parameters: int
    place: Place
    pretraining_seconds: float = 0.0


@dataclass
class Kept:
    """All that was measured so far; `naive` has the seasonal naive figures of each set."""

    measurements: list[Measurement] = field(default_factory=list)
    naive: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None) -> "Kept":
        if path is None or not path.exists():
            return cls()
        values = json.loads(path.read_text(encoding="utf-8"))
        measurements = [
            Measurement(**{**row, "place": Place(**row["place"])}) for row in values["measurements"]
        ]
        return cls(measurements, values["naive"])

    def write(self, path: Path | None) -> None:
        if path is not None:
            path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def add(self, new: Measurement) -> None:
        """Takes the place of what was measured before with the same seed."""
        self.measurements = [row for row in self.measurements if _key(row) != _key(new)] + [new]

    def groups(self, names: Iterable[str]) -> dict[tuple[str, str, str], list[Measurement]]:
        """By benchmark in the given order, preset and device; each by seed."""
        found: dict[tuple[str, str, str], list[Measurement]] = {}
        for name in names:
            for row in sorted(
                self.measurements, key=lambda row: (row.device, row.preset, row.seed)
            ):
                if row.benchmark == name:
                    found.setdefault((name, row.preset, row.device), []).append(row)
        return found


def _key(row: Measurement) -> tuple[str, str, str, int]:
    return row.benchmark, row.preset, row.device, row.seed


def _said(*command: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip()
