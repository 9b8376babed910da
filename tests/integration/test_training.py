"""Real trainings of tiny networks by a real worker: `python -m workers.app`."""

import shutil
from typing import Any
from uuid import UUID

import numpy as np
import torch
from sqlalchemy import select

from rnn.checkpoint import load_model, read
from rnn.classification.predictor import Classifier
from rnn.forecasting.predictor import Forecaster
from rnn.generation.predictor import Generator
from service.db.engine import Database
from service.db.tables import Job, ModelVersion
from service.registry.store import delete_model
from tests.integration.machine import SERIES, Machine

WORKER = "workers.app"
FORECASTING: dict[str, Any] = {
    "task": "time-series-forecasting",
    "architecture": {"hidden_size": 8, "num_layers": 1},
    "training": {"max_steps": 20, "batch_size": 8},
    "data": {"horizon": 4, "context_length": 8},
}
CLASSIFICATION: dict[str, Any] = {
    "task": "text-classification",
    "architecture": {"hidden_size": 8, "embedding_size": 8},
    "training": {"max_steps": 20},
}
GENERATION: dict[str, Any] = {
    "task": "text-generation",
    "architecture": {"hidden_size": 8, "num_layers": 1, "embedding_size": 8},
    "training": {"max_steps": 20, "batch_size": 4, "bptt_length": 16},
}
REVIEWS = "text,label\n" + "a warm and lovely film,good\na cold and awful mess,bad\n" * 40
CORPUS = "the quick brown fox jumps over the lazy dog\n" * 60


def test_the_three_tasks_become_served_networks(machine: Machine, database: Database) -> None:
    """Each begins its first step within a second of its submission: a warm trainer waits, and only
    the wake-up explains it."""
    machine.settings = machine.settings.model_copy(update={"worker_poll_seconds": 60.0})
    machine.start_worker(WORKER)
    for number, (config, content, filename, kind) in enumerate(
        [
            (FORECASTING, SERIES, "series.csv", Forecaster),
            (CLASSIFICATION, REVIEWS, "reviews.csv", Classifier),
            (GENERATION, CORPUS, "corpus.txt", Generator),
        ]
    ):
        machine.wait_warm(number + 1)
        job_id = machine.submit_config(config, content, filename, model_name=filename)
        machine.waker.wake("cpu")
        job = machine.wait_state(job_id, "succeeded", "failed", timeout_seconds=60)
        assert job.state == "succeeded", job.error
        assert job.metrics
        with database.transaction() as db:
            version = db.scalars(select(ModelVersion).where(ModelVersion.job_id == job_id)).one()
        assert version.parameters > 0
        model = load_model(machine.artifacts.absolute(version.artifact_path))
        assert isinstance(model, kind)
        if isinstance(model, Forecaster):
            assert model.forecast([np.arange(20.0)], 4, [0.5]).mean_bt.shape == (1, 4)


def test_a_training_that_diverges(machine: Machine) -> None:
    config = {
        **FORECASTING,
        "architecture": {"cell": "rnn_relu", "num_layers": 4, "hidden_size": 32},
        "training": {
            "max_steps": 500,
            "batch_size": 8,
            "optimizer": "sgd",
            "learning_rate": 10.0,
            "gradient_clip_norm": None,
            "schedule": "constant",
            "warmup_fraction": 0.0,
        },
    }
    job_id = machine.submit_config(config, SERIES)
    machine.start_worker(WORKER)
    job = machine.wait_state(job_id, "failed", timeout_seconds=60)
    assert job.error is not None
    assert job.error["type"] == "diverged"
    assert job.attempt == 1
    assert job.checkpoint is not None  # the last good state
    assert list(machine.artifacts.checkpoints_dir(job_id, 1).iterdir())


def test_a_classifier_starts_from_a_language_model(machine: Machine) -> None:
    """Its layers stay frozen here, so they must be the language model's to the bit."""
    machine.start_worker(WORKER)
    words = {**GENERATION, "data": {"tokenizer": "word", "vocabulary_size": 260}}
    trained = machine.submit_config(words, CORPUS, "corpus.txt", model_name="verses")
    machine.wait_state(trained, "succeeded", timeout_seconds=60)
    config = {"task": "text-classification", "training": {"max_steps": 5, "unfreeze_epochs": 900}}
    job_id = machine.submit_config(
        config, REVIEWS, "reviews.csv", model_name="reviews", base_model="verses"
    )
    job = machine.wait_state(job_id, "succeeded", "failed", timeout_seconds=60)
    assert job.state == "succeeded", job.error
    base = read(machine.artifacts.model_dir(trained, 1), "model")
    tuned = read(machine.artifacts.model_dir(job_id, 1), "model")
    kept = [name for name in tuned.tensors if not name.startswith("head.")]
    assert "embedding.weight" in kept
    for name in kept:
        assert torch.equal(tuned.tensors[name], base.tensors[name]), name
    assert load_model(machine.artifacts.model_dir(job_id, 1))


def test_a_base_that_was_deleted_before_the_job_ran(machine: Machine, database: Database) -> None:
    machine.start_worker(WORKER)
    trained = machine.submit_config(FORECASTING, SERIES, model_name="demand")
    machine.wait_state(trained, "succeeded", timeout_seconds=60)
    again = {"task": "time-series-forecasting", "training": {"max_steps": 5, "batch_size": 8}}
    with database.transaction() as db:
        workspace_id = db.get_one(Job, trained).workspace_id
    tuned = {"model_name": "tuned", "base_model": "demand:1", "queue": "later"}
    job_id = machine.submit_config(again, SERIES, **tuned)
    with database.transaction() as db:
        (folder,) = delete_model(db, workspace_id, "demand")
    shutil.rmtree(machine.artifacts.absolute(folder))
    with database.transaction() as db:
        db.get_one(Job, job_id).queue = "cpu"
    machine.waker.wake("cpu")
    job = machine.wait_state(job_id, "succeeded", "failed", timeout_seconds=60)
    assert job.error is not None
    assert job.error["type"] == "not-found"
    assert "demand:1" in job.error["detail"]


def weights(machine: Machine, job_id: UUID) -> bytes:
    path = machine.artifacts.model_dir(job_id, machine.job(job_id).attempt)
    return (path / "tensors.safetensors").read_bytes()
