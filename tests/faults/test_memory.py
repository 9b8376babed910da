"""Trainers that run out of memory, for real: under the limit that the kernel holds them to."""

import os
import re
import subprocess
import sys

import pytest

from tests.integration.machine import ROOT, Machine
from tests.job_records import outcomes_of
from workers.trainer_memory import RESERVE_BYTES
from workers.trainer_process import TrainerGoneError, TrainerProcess, environment

# A trainer that is ready: what it has taken before its job comes.
READY = """
import re
from pathlib import Path
from rnn.kernels import library
from workers.science import prepare
library.select("auto")
prepare()
print(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""
BATCH_SIZE = 4096
# A step with so many windows takes about 800, with half of them 400.
BATCH_MEBIBYTES = 570
CONFIG = {
    "task": "time-series-forecasting",
    "architecture": {"hidden_size": 64, "num_layers": 1},
    "training": {"max_steps": 2, "batch_size": BATCH_SIZE, "windows_per_epoch": 2 * BATCH_SIZE},
    "data": {"horizon": 12, "context_length": 96, "season_length": 12},
}
SERIES = "y\n" + "\n".join(str(10 + i % 12 + i / 500) for i in range(6_000)) + "\n"


def ready_bytes() -> int:
    result = subprocess.run(
        [sys.executable, "-c", READY],
        cwd=ROOT,
        env=environment(os.environ, threads=1, gpu=None, keeps_memory=False),
        stdout=subprocess.PIPE,
        check=True,
    )
    return int(result.stdout) * 1024


def test_a_batch_that_does_not_fit_is_taken_in_parts(machine: Machine) -> None:
    limit = ready_bytes() + RESERVE_BYTES + BATCH_MEBIBYTES * 2**20
    machine.settings = machine.settings.model_copy(update={"trainer_memory_bytes": limit})
    job_id = machine.submit_config(CONFIG, SERIES)
    machine.start_worker("workers.app")
    job = machine.wait_state(job_id, "succeeded", "failed", timeout_seconds=120)
    assert (job.state, job.attempt) == ("succeeded", 1), job.error
    told = [event.data for event in machine.events(job_id) if "parts" in event.data]
    assert (told[0]["level"], told[0]["parts"], told[0]["rows"]) == ("warning", 2, BATCH_SIZE // 2)
    assert re.search("memory|primitive", told[0]["reason"])
    assert "batches are taken in 2 parts of at most 2048 rows" in told[0]["text"]
    assert job.progress["step"] == 2
    with machine.database.transaction() as db:
        assert outcomes_of(db, job_id) == ["finished"]


def test_a_limit_that_leaves_nothing_to_train_with_is_said_before_a_job_is_claimed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    trainer = TrainerProcess(
        science="workers.science:prepare", kernels="auto", threads=1, gpu=None, memory_bytes=2**28
    )
    with pytest.raises(TrainerGoneError):
        trainer.wait_ready(60)
    trainer.close()
    assert (
        "REPRISE_TRAINER_MEMORY_BYTES is 268435456, but a trainer takes" in capfd.readouterr().err
    )
