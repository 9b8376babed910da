"""Three tiny networks, trained once a session in seconds, and published as a job would."""

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from rnn.checkpoint import manifest_sha256
from rnn.config import TaskConfig
from rnn.data.examples import CorpusExamples, Examples, SeriesExamples, TextExamples
from rnn.events import Finished
from rnn.resolve import resolve
from rnn.train import train
from service.artifacts.store import ArtifactStore
from service.db.engine import Database
from service.db.tables import Dataset, Job, ModelVersion
from service.inference import engine
from service.inference.channel import Channel
from service.inference.process import read_start, serve
from service.inference.requests import ServedVersion
from service.jobs.states import JobState
from service.registry.store import register_version

FORECASTING, CLASSIFICATION, GENERATION = (
    "time-series-forecasting",
    "text-classification",
    "text-generation",
)
GOOD = "a warm and lovely film with a great heart"
BAD = "a cold and awful mess with a terrible end"
LINE = "the quick brown fox jumps over the lazy dog\n"


class EngineThread:
    """An engine in the test's process: it starts in no time, and tests may slow it down."""

    def __init__(self, connection: socket.socket, arguments: Sequence[str]) -> None:
        channel = Channel(socket.socket(fileno=os.dup(connection.fileno())))
        start = read_start(["--socket", "0", *arguments])
        self._thread = threading.Thread(target=serve, args=(channel, start), daemon=True)
        self._thread.start()

    def wait(self, timeout: float) -> None:
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise subprocess.TimeoutExpired("engine", timeout)

    def kill(self) -> None:
        raise AssertionError("an engine must end with its connection")


@pytest.fixture(autouse=True)
def engine_thread(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines are threads in all tests that do not ask for `engine_process`."""
    if "engine_process" not in request.fixturenames:
        monkeypatch.setattr(engine, "launch", EngineThread)


@pytest.fixture
def engine_process() -> None:
    """Engines are what they are for users."""


class Unhurried:
    """A training that nobody interrupts."""

    def elapsed_seconds(self) -> float:
        return 0.0

    def should_checkpoint(self) -> bool:
        return False

    def should_stop(self) -> bool:
        return False


def _series() -> tuple[Examples, dict[str, Any]]:
    time = np.arange(96)
    values = [10 + level + np.sin(2 * np.pi * time / 12) + 0.01 * time for level in range(4)]
    profile = {
        "series": {
            "series": 4,
            "points": 4 * 96,
            "min_length": 96,
            "median_length": 96,
            "max_length": 96,
            "frequency": None,
            "season_length": 12,
        }
    }
    return SeriesExamples([f"s{i}" for i in range(4)], values, [None] * 4, None), profile


def _texts() -> tuple[Examples, dict[str, Any]]:
    words_of = {"positive": GOOD.split(), "negative": BAD.split()}
    random = np.random.default_rng(0)
    texts, labels = [], []
    for i in range(120):
        label = ("positive", "negative")[i % 2]
        texts.append(" ".join(random.choice(words_of[label], size=6)))
        labels.append(label)
    profile = {
        "labels": {
            "counts": {"positive": 60, "negative": 60},
            "splits": None,
            "median_tokens": 6,
        }
    }
    return TextExamples(texts, labels, None), profile


def _corpus() -> tuple[Examples, dict[str, Any]]:
    data = np.frombuffer((LINE * 80).encode(), dtype=np.uint8)
    size = len(data)
    return CorpusExamples(data), {"text": {"characters": size, "bytes": size, "lines": 80}}


_TASKS = {FORECASTING: _series, CLASSIFICATION: _texts, GENERATION: _corpus}
_CHOICES: dict[str, dict[str, Any]] = {
    FORECASTING: {
        "architecture": {"hidden_size": 12, "num_layers": 1},
        "training": {"max_steps": 20, "batch_size": 16, "windows_per_epoch": 64},
        "data": {"horizon": 12, "context_length": 24},
    },
    CLASSIFICATION: {
        "architecture": {"hidden_size": 12, "embedding_size": 12},
        "training": {"max_steps": 60, "batch_size": 16, "learning_rate": 0.01},
        "data": {"min_frequency": 1, "max_tokens": 50},
    },
    GENERATION: {
        "architecture": {"hidden_size": 48, "embedding_size": 16, "num_layers": 1, "dropout": 0.0},
        "training": {
            "max_steps": 400,
            "batch_size": 8,
            "bptt_length": 32,
            "learning_rate": 0.02,
            "max_epochs": 100,
            "early_stopping_patience": None,
        },
    },
}


def train_tiny(task: str, folder: Path) -> Path:
    torch.set_num_threads(1)
    examples, profile = _TASKS[task]()
    adapter: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)
    config = resolve(adapter.validate_python({"task": task, **_CHOICES[task]}), profile)
    for event in train(config, examples, device="cpu", control=Unhurried(), resume=None):
        if isinstance(event, Finished):
            event.save(folder)
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The model folder of each task."""
    root = tmp_path_factory.mktemp("trained")
    return {task: train_tiny(task, root / task) for task in _TASKS}


def served(folder: Path, task: str, name: str = "tiny") -> ServedVersion:
    return ServedVersion(name, 1, task, folder, manifest_sha256(folder))


def publish(
    database: Database,
    artifacts: ArtifactStore,
    workspace_id: UUID,
    name: str,
    task: str,
    folder: Path,
) -> ModelVersion:
    """The rows and files that a job leaves behind which trained `folder`."""
    description = json.loads((folder / "description.json").read_bytes())
    config = description["config"]
    config["training"]["seed"] = 7
    with database.transaction() as db:
        dataset = Dataset(
            workspace_id=workspace_id,
            name="generated",
            format="text",
            size_bytes=1,
            sha256="d" * 64,
            profile={"rows": 1, "duplicates": 0, "tasks": []},
        )
        db.add(dataset)
        db.flush()
        job = Job(
            workspace_id=workspace_id,
            task=task,
            dataset_id=dataset.id,
            model_name=name,
            config=config,
            device="cpu",
            queue="cpu",
            state=JobState.SUCCEEDED,
            attempt=1,
        )
        db.add(job)
        db.flush()
        place = artifacts.model_dir(job.id, 1)
        shutil.copytree(folder, place)
        return register_version(
            db,
            job=job,
            artifact_path=artifacts.relative(place),
            artifact_sha256=manifest_sha256(place),
            metrics={"loss": 0.5},
            parameters=1234,
            code_version="test",
            attempt=1,
            serving=description.get("values", {}).get("serving"),
        )
