"""A training without torch whose held-out loss its learning rate decides, and a sweep over it.

Run as a program it is a worker, with settings from the environment, that trains like this.
"""

import hashlib
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text

from benchmarks.faults import scripted
from rnn.config import ForecastingConfig
from rnn.events import (
    CheckpointDue,
    Control,
    Evaluated,
    Event,
    Finished,
    Started,
    StepDone,
    Stopped,
)
from service.settings import Settings
from tests.integration.machine import ROOT, Machine, environment, wait_for
from tests.sweep_records import RATE, Bench
from workers.app import make_room, run_worker, stop_on_signals
from workers.training import Science

EPOCHS = 10
SECONDS_AN_EPOCH = 0.1
SECONDS_AN_EPOCH_OF_A_BAD_RATE = 5.0
BEST_RATE = 0.01
TRIALS = 6


def prepare() -> Science:
    return Science(train, scripted.verify, scripted.manifest_sha256, scripted.Lengths)


def train(
    config: ForecastingConfig,
    examples: Any,
    *,
    device: str,
    control: Control,
    resume: Path | None,
    base: Path | None = None,
) -> Iterator[Event]:
    """An evaluation after each epoch of one step; the loss ends near how wrong the rate is.

    With a rate that is far off there is time enough to be pruned.
    """
    rate = config.training.learning_rate
    yield Started(parameters=7, total_steps=EPOCHS, first_step=0)
    for epoch in range(1, EPOCHS + 1):
        is_bad = epoch > 1 and held_out_loss(rate, EPOCHS) > 0.5
        time.sleep(SECONDS_AN_EPOCH_OF_A_BAD_RATE if is_bad else SECONDS_AN_EPOCH)
        loss = held_out_loss(rate, epoch)
        yield StepDone(epoch, EPOCHS, epoch, loss, rate, 1.0, 8)
        yield Evaluated(epoch, epoch, {"loss": loss}, improved=True)
        if control.should_checkpoint():
            yield CheckpointDue(epoch, lambda folder: scripted.save(folder, weights(rate)))
        if control.should_stop():
            yield Stopped(epoch)
            return
    yield Finished(
        EPOCHS,
        {"loss": held_out_loss(rate, EPOCHS)},
        "max_epochs",
        lambda folder: scripted.save(folder, weights(rate)),
        scripted.UNMEASURED,
    )


def held_out_loss(rate: float, epoch: int) -> float:
    return abs(math.log10(rate / BEST_RATE)) + 1 / epoch


def weights(rate: float) -> dict[str, Any]:
    return {"step": EPOCHS, "weights": hashlib.sha256(str(rate).encode()).hexdigest()}


def submit_sweep(bench: Bench) -> UUID:
    """Six trials, two at a time; the first one has the best rate."""
    return bench.submit(
        {"training": {"learning_rate": BEST_RATE}},
        space={RATE: {"type": "float", "low": 1e-4, "high": 1.0, "log": True}},
        sampler="random",
        max_trials=TRIALS,
    )


@contextmanager
def reaper(machine: Machine) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own, as in production."""
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.reaper"],
        cwd=ROOT,
        env={**os.environ, **environment(machine.settings)},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def wait_sweep(bench: Bench, sweep_id: UUID) -> None:
    """Until it has ended and cleaned up."""

    def is_over() -> bool:
        ended = bench.row(sweep_id).sweep.state != "running"
        return ended and all(job.trained is None for job in bench.trials(sweep_id))

    wait_for(is_over, "the sweep's end", 120)


def check_sweep(bench: Bench, sweep_id: UUID) -> None:
    """Looks at all that is left of it."""
    row, trials = bench.row(sweep_id), bench.trials(sweep_id)
    assert (row.sweep.state, row.sweep.error) == ("succeeded", None)
    assert [job.trial for job in trials] == list(range(TRIALS))
    assert sum(row.trials.values()) == TRIALS
    assert row.trials.keys() <= {"succeeded", "pruned"}
    [version] = bench.versions()
    assert (version.job_id, version.config["training"]["learning_rate"]) == (trials[0].id, 0.01)
    done = [job for job in trials if job.state == "succeeded"]
    networks = [bench.artifacts.model_dir(job.id, job.attempt) for job in done]
    assert [folder.is_dir() for folder in networks] == [job.trial == 0 for job in done]
    with bench.database.transaction() as db:
        told = db.execute(text("SELECT number, state FROM optuna.trials ORDER BY number")).all()
    names = {"succeeded": "COMPLETE", "cancelled": "PRUNED"}
    assert [tuple(trial) for trial in told] == [(job.trial, names[job.state]) for job in trials]


if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    room = make_room(Settings(), science="tests.integration.scripted_sweep:prepare")
    stop_on_signals(room.stopping)
    run_worker(room)
