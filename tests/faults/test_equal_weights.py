"""A real training whose worker is killed ends elsewhere with the weights of one left alone."""

import hashlib
from typing import Any

import pytest

from tests.integration.machine import Machine
from tests.integration.test_training import (
    CLASSIFICATION,
    CORPUS,
    FORECASTING,
    GENERATION,
    REVIEWS,
    SERIES,
    WORKER,
    weights,
)

# Long enough for a few checkpoints.
STEPS: dict[str, Any] = {"max_steps": 300, "max_epochs": 400, "early_stopping_patience": None}


def long(config: dict[str, Any], **training: Any) -> dict[str, Any]:
    return {**config, "training": {**config["training"], **STEPS, **training}}


@pytest.mark.parametrize(
    ("config", "content", "filename"),
    [
        (long(FORECASTING, windows_per_epoch=400), SERIES, "series.csv"),
        (long(CLASSIFICATION, batch_size=8), REVIEWS, "reviews.csv"),
        (long(GENERATION), CORPUS, "corpus.txt"),
    ],
    ids=["forecasting", "classification", "generation"],
)
def test_a_killed_worker_changes_nothing_in_the_weights(
    machine: Machine, config: dict[str, Any], content: str, filename: str
) -> None:
    whole = machine.submit_config(config, content, filename)
    worker = machine.start_worker(WORKER)
    machine.wait_state(whole, "succeeded", timeout_seconds=60)
    job_id = machine.submit_config(config, content, filename)
    machine.wait_checkpoint(job_id, timeout_seconds=60)
    worker.kill()
    worker.wait()
    killed = machine.job(job_id)
    assert killed.state == "running"  # it was killed in the middle
    assert killed.checkpoint is not None
    machine.start_worker(WORKER)
    with machine.reaper():
        job = machine.wait_state(job_id, "succeeded", timeout_seconds=60)
    assert (job.attempt, job.checkpoint) == (2, None)
    texts = [e.data["text"] for e in machine.events(job_id) if e.type == "message"]
    step = killed.checkpoint["step"]  # no work from before its newest checkpoint is done again
    assert f"resumes from step {step}, saved by attempt 1" in texts
    first, second = (hashlib.sha256(weights(machine, each)).hexdigest() for each in (whole, job_id))
    assert first == second
