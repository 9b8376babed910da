"""A worker process with trainer processes of its own, on real PostgreSQL and Redis."""

import signal
import subprocess
import time
from datetime import datetime
from typing import Any
from uuid import UUID

import psutil
import pytest

from benchmarks.faults import scripted
from service.db.engine import Database
from service.jobs import store
from service.jobs.logs import log_path
from tests.integration.machine import Machine, has_ended, trainers_of, wait_for
from tests.job_records import outcomes_of, reasons_of


def test_success_end_to_end(machine: Machine) -> None:
    job_id = machine.submit()
    machine.start_worker()
    job = machine.wait_state(job_id, "succeeded")
    assert job.metrics == {"loss": 0.5}
    assert job.progress["step"] == 10
    events = machine.events(job_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    steps = [event.data for event in events if event.data.get("kind") == "step"]
    assert (steps[0]["step"], steps[-1]["step"]) == (1, 10)
    assert any(event.data.get("kind") == "evaluation" for event in events)
    assert events[-1].data["version"] == 1
    model = machine.artifacts.model_dir(job_id, 1)
    assert model.is_dir()


def test_trainers_use_the_kernels_of_the_settings(machine: Machine) -> None:
    """They get none of the worker's variables, so it has to tell them; a job's log says which."""
    machine.settings = machine.settings.model_copy(update={"kernels": "off"})
    job_id = machine.submit()
    machine.start_worker()
    machine.wait_state(job_id, "succeeded")
    first, *_ = log_path(machine.artifacts, job_id, 1).read_text().splitlines()
    assert first == "kernels: torch (the kernels are switched off)"


def test_an_idle_worker_is_woken_and_starts_at_once(machine: Machine) -> None:
    """By the wake-up: it does not look by itself for a minute."""
    machine = relaxed(machine)
    machine.start_worker()
    machine.wait_warm(1)
    job_id = machine.submit()
    machine.waker.wake("cpu")
    machine.wait_state(job_id, "succeeded")
    events = machine.events(job_id)
    step = next(event for event in events if event.data.get("kind") == "step")
    assert (step.created_at - events[0].created_at).total_seconds() < 30
    assert datetime.fromisoformat(step.data["at"]) <= step.created_at


def test_without_redis_work_is_found_all_the_same(machine: Machine) -> None:
    from pydantic import SecretStr

    gone = machine.settings.model_copy(update={"redis_url": SecretStr("unix:///nowhere.sock")})
    machine.settings = gone
    machine.start_worker()
    time.sleep(1.0)
    machine.wait_state(machine.submit(), "succeeded")


def test_cancel_stops_a_training(machine: Machine, database: Database) -> None:
    worker = machine.start_worker()
    job_id = machine.submit(steps=100_000)
    trainer = training_process(machine, worker, job_id)
    cancel(machine, database, job_id)
    wait_for(lambda: has_ended(trainer), "the trainer's end")


def test_cancel_kills_a_training_that_hangs(machine: Machine, database: Database) -> None:
    worker = machine.start_worker()
    job_id = machine.submit(scripted.HANGS, steps=100_000)
    trainer = training_process(machine, worker, job_id)
    cancel(machine, database, job_id)
    wait_for(lambda: has_ended(trainer), "the trainer's end")


def test_sigterm_drains(machine: Machine, database: Database) -> None:
    """The trainer saves, the job goes back, and no crash is counted."""
    worker = machine.start_worker()
    job_id = machine.submit(steps=100_000)
    training_process(machine, worker, job_id)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0
    job = machine.job(job_id)
    assert (job.state, job.crashes_without_progress) == ("queued", 0)
    assert job.checkpoint is not None
    assert job.checkpoint["step"] >= job.progress["step"]
    with database.transaction() as db:
        assert outcomes_of(db, job_id) == ["drained"]


def test_a_drained_job_is_resumed_to_the_same_weights(machine: Machine) -> None:
    whole = machine.submit(steps=40)
    worker = machine.start_worker()
    machine.wait_state(whole, "succeeded")
    parts = machine.submit(steps=40)
    training_process(machine, worker, parts)
    worker.send_signal(signal.SIGTERM)
    worker.wait(10)
    machine.start_worker()
    job = machine.wait_state(parts, "succeeded")
    assert job.attempt == 2
    assert model_state(machine, parts) == model_state(machine, whole)


def test_a_killed_worker_takes_its_trainer_along_and_another_goes_on(
    machine: Machine, database: Database
) -> None:
    whole = machine.submit(steps=60)
    worker = machine.start_worker()
    machine.wait_state(whole, "succeeded")
    job_id = machine.submit(steps=60)
    trainer = training_process(machine, worker, job_id)
    machine.wait_checkpoint(job_id)
    worker.kill()
    killed = time.monotonic()
    wait_for(lambda: has_ended(trainer), "the trainer's end")
    assert time.monotonic() - killed < 2.0
    worker.wait()
    machine.start_worker()
    with machine.reaper():
        job = machine.wait_state(job_id, "succeeded")
    assert job.attempt == 2
    assert model_state(machine, job_id) == model_state(machine, whole)
    with database.transaction() as db:
        assert reasons_of(db, job_id) == [
            "submitted",
            "claimed",
            "lease_expired",
            "claimed",
            "finished",
        ]
        assert outcomes_of(db, job_id) == ["lease_expired", "finished"]
    texts = [e.data["text"] for e in machine.events(job_id) if e.type == "message"]
    assert any(text.startswith("resumes from step") for text in texts)


def test_a_killed_trainer_costs_its_worker_nothing(machine: Machine, database: Database) -> None:
    worker = machine.start_worker()
    job_id = machine.submit(steps=60)
    trainer = training_process(machine, worker, job_id)
    machine.wait_checkpoint(job_id)
    trainer.kill()
    machine.wait_state(job_id, "succeeded")
    assert worker.poll() is None
    with database.transaction() as db:
        assert outcomes_of(db, job_id) == ["crashed", "finished"]


def test_an_always_crashing_job_is_poisoned_and_its_neighbour_finishes(machine: Machine) -> None:
    bad, good = machine.submit(scripted.KILLED), machine.submit()
    machine.start_worker()
    job = machine.wait_state(bad, "failed", timeout_seconds=30)
    machine.wait_state(good, "succeeded")
    assert job.attempt == 3
    assert job.error is not None
    assert job.error["type"] == "poisoned"
    assert "SIGKILL" in job.error["detail"]


@pytest.mark.parametrize(
    ("fate", "error_type", "words"),
    [
        (scripted.DIVERGES, "diverged", "the loss is nan"),
        (scripted.DEFECTIVE, "trainer-error", "RuntimeError: a defect"),
        (scripted.FULL_DISK, "insufficient-storage", "no space left"),
    ],
)
def test_a_training_that_cannot_go_on_says_why(
    machine: Machine, fate: int, error_type: str, words: str
) -> None:
    job_id = machine.submit(fate)
    machine.start_worker()
    job = machine.wait_state(job_id, "failed")
    assert job.attempt == 1
    assert job.error is not None
    assert job.error["type"] == error_type
    assert words in job.error["detail"]
    assert "\n" not in job.error["detail"]
    log = log_path(machine.artifacts, job_id, 1).read_text()
    assert "Traceback" in log


def test_a_torn_checkpoint_is_passed_over(machine: Machine) -> None:
    worker = machine.start_worker()
    job_id = machine.submit(steps=100_000)
    training_process(machine, worker, job_id)
    job = wait_for(
        lambda: (job := machine.job(job_id)).checkpoint and job.checkpoint["previous"] and job,
        "two checkpoints",
    )
    worker.send_signal(signal.SIGTERM)
    worker.wait(10)
    kept = machine.job(job_id).checkpoint
    assert kept is not None
    (machine.artifacts.absolute(kept["path"]) / "state.json").write_text("{}")
    machine.start_worker()
    wait_for(lambda: machine.job(job_id).attempt == 2, "the second attempt")
    texts = wait_for(
        lambda: [
            event.data["text"]
            for event in machine.events(job_id)
            if event.type == "message" and event.attempt == 2 and "resumes" in event.data["text"]
        ],
        "the resumption",
    )
    assert texts == [f"resumes from step {kept['previous']['step']}, saved by attempt 1"]
    warnings = [e.data for e in machine.events(job_id) if e.data.get("level") == "warning"]
    assert f"step {kept['step']}" in warnings[0]["text"]
    assert job.id == job_id


def test_two_checkpoints_are_kept_on_disk(machine: Machine) -> None:
    machine.start_worker()
    job_id = machine.submit(scripted.LATE_DEFECT, steps=60)
    machine.wait_state(job_id, "failed")
    saved = [event for event in machine.events(job_id) if event.type == "checkpoint"]
    assert len(saved) > 2
    folder = machine.artifacts.checkpoints_dir(job_id, 1)
    assert len(list(folder.iterdir())) == 2


def test_a_job_that_succeeded_keeps_no_checkpoint(machine: Machine) -> None:
    """Those of all its attempts go, and the API lists none."""
    worker = machine.start_worker()
    job_id = machine.submit(steps=100)
    trainer = training_process(machine, worker, job_id)
    machine.wait_checkpoint(job_id)
    trainer.kill()
    job = machine.wait_state(job_id, "succeeded")
    assert (job.attempt, job.checkpoint) == (2, None)
    wait_for(lambda: not machine.artifacts.jobs_with_checkpoints(), "the end of the folders")


def test_redelivered_wake_ups_are_harmless(machine: Machine, database: Database) -> None:
    for _ in range(2):
        machine.start_worker()
    jobs = [machine.submit() for _ in range(3)]
    for _ in range(30):
        machine.waker.wake("cpu")
    for job_id in jobs:
        machine.wait_state(job_id, "succeeded")
        with database.transaction() as db:
            assert reasons_of(db, job_id) == ["submitted", "claimed", "finished"]


def test_a_worker_says_that_it_is_there_and_that_it_goes(
    machine: Machine, database: Database
) -> None:
    from service.jobs.workers import list_workers

    def rows() -> list[tuple[bool, bool]]:
        with database.transaction() as db:
            found = list_workers(db, live_seconds=2)
        return [(row.live, row.worker.stopped_at is not None) for row in found]

    def devices() -> dict[str, Any]:
        with database.transaction() as db:
            return list_workers(db, live_seconds=2)[0].worker.devices

    worker = machine.start_worker()
    wait_for(lambda: rows() == [(True, False)], "a live worker")
    assert devices()["versions"]["reprise"]
    wait_for(lambda: 0 <= devices().get("processor_utilisation", -1) <= 1, "how busy it is")
    assert {"cores", "gpus", "versions", "memory_used_bytes"} <= devices().keys()
    worker.send_signal(signal.SIGINT)
    worker.wait(10)
    assert rows() == [(False, True)]


def relaxed(machine: Machine) -> Machine:
    """Polls so rarely that only a wake-up explains a quick start."""
    machine.settings = machine.settings.model_copy(update={"worker_poll_seconds": 60.0})
    return machine


def training_process(
    machine: Machine, worker: subprocess.Popen[bytes], job_id: UUID
) -> psutil.Process:
    """The trainer of a job that has taken its first steps."""
    wait_for(lambda: machine.job(job_id).progress.get("step", 0) >= 1, "the first step")
    (trainer,) = trainers_of(worker)
    return trainer


def cancel(machine: Machine, database: Database, job_id: UUID) -> None:
    """Asks for it and waits for the ten seconds that are promised."""
    with database.transaction() as db:
        store.request_cancel(db, machine.job(job_id).workspace_id, job_id)
    machine.wait_state(job_id, "cancelled", timeout_seconds=10)


def model_state(machine: Machine, job_id: UUID) -> str:
    job = machine.job(job_id)
    path = machine.artifacts.model_dir(job_id, job.attempt)
    return machine.state_file(machine.artifacts.relative(path))
