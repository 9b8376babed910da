"""Jobs that are paused, preempted, late, retried or made to wait, with real workers."""

import json
from datetime import UTC, datetime, timedelta
from functools import reduce
from uuid import UUID

from sqlalchemy import update

from benchmarks.faults import scripted
from service.db.engine import Database
from service.db.tables import Job
from service.jobs import store
from service.jobs.quotas import UNLIMITED
from service.jobs.store import RetryChanges
from tests.integration.machine import Machine, trainers_of, wait_for
from tests.job_records import outcomes_of, reasons_of

STEPS = 100
ENDLESS = 100_000
UNINTERRUPTED = reduce(scripted.updated, range(1, STEPS + 1), "")


def test_a_paused_job_goes_on_from_where_it_was_to_the_same_weights(
    machine: Machine, database: Database
) -> None:
    job_id = machine.submit(steps=STEPS)
    machine.start_worker()
    training(machine, job_id)
    pause(machine, job_id)
    held = wait_held(machine, job_id)
    assert held.checkpoint is not None
    step = held.checkpoint["step"]
    assert 0 < step < STEPS
    assert step >= held.progress["step"]  # it was saved for this
    machine.wait_state(machine.submit(), "succeeded")  # the slot is free meanwhile
    assert machine.job(job_id).state == "queued"
    resume(machine, job_id)
    job = machine.wait_state(job_id, "succeeded")
    assert job.attempt == 2
    texts = [event.data["text"] for event in machine.events(job_id) if event.type == "message"]
    assert f"resumes from step {step}, saved by attempt 1" in texts
    assert weights_of(machine, job_id) == UNINTERRUPTED
    with database.transaction() as db:
        assert reasons_of(db, job_id) == ["submitted", "claimed", "paused", "claimed", "finished"]


def test_a_training_that_hangs_is_killed_to_be_paused(machine: Machine) -> None:
    machine.settings = machine.settings.model_copy(update={"drain_seconds": 0.5})
    job_id = machine.submit(scripted.HANGS, steps=ENDLESS)
    worker = machine.start_worker()
    training(machine, job_id)
    (hanging,) = trainers_of(worker)
    pause(machine, job_id)
    held = wait_held(machine, job_id)
    assert held.crashes_without_progress == 0
    wait_for(lambda: not hanging.is_running(), "the trainer's end")


def test_a_pause_that_is_taken_back_at_once_loses_nothing(machine: Machine) -> None:
    """Whether the worker had seen it or not."""
    job_id = machine.submit(steps=STEPS)
    machine.start_worker()
    training(machine, job_id)
    pause(machine, job_id)
    resume(machine, job_id)
    machine.wait_state(job_id, "succeeded")
    assert weights_of(machine, job_id) == UNINTERRUPTED


def test_a_job_of_high_priority_takes_the_slot_and_gives_it_back(
    machine: Machine, database: Database
) -> None:
    low = machine.submit(steps=STEPS)
    machine.start_worker()
    training(machine, low)
    high = machine.submit(steps=5, priority=1, preempts=True)
    with machine.reaper():
        machine.wait_state(high, "succeeded")
        machine.wait_state(low, "succeeded")
    assert claims_of(machine, high)[0] < claims_of(machine, low)[1]
    assert weights_of(machine, low) == UNINTERRUPTED
    with database.transaction() as db:
        assert outcomes_of(db, low) == ["preempted", "finished"]


def test_a_job_whose_data_is_still_loading_is_preempted_at_once(
    machine: Machine, database: Database
) -> None:
    low = machine.submit(scripted.SLOW_START, priority=-1)
    machine.start_worker()
    machine.wait_state(low, "running")
    high = machine.submit(steps=5, preempts=True)
    with machine.reaper():
        machine.wait_state(high, "succeeded")
    with database.transaction() as db:
        assert outcomes_of(db, low)[0] == "preempted"
        assert machine.job(low).crashes_without_progress == 0


def test_a_late_job_keeps_its_checkpoint_and_goes_on_when_it_is_retried(
    machine: Machine, database: Database
) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    job_id = machine.submit(steps=STEPS, deadline=tomorrow)
    machine.start_worker()
    training(machine, job_id)
    with database.transaction() as db:
        past = datetime.now(UTC) - timedelta(days=1)
        db.execute(update(Job).where(Job.id == job_id).values(deadline=past))
    late = machine.wait_state(job_id, "failed")
    assert late.error is not None
    assert late.error["type"] == "deadline-exceeded"
    assert late.checkpoint is not None
    assert machine.state_file(late.checkpoint["path"])
    retry(machine, job_id, {"deadline": None})
    assert machine.wait_state(job_id, "succeeded").attempt == 2
    assert weights_of(machine, job_id) == UNINTERRUPTED


def test_a_job_that_failed_goes_on_from_its_checkpoint_when_it_is_retried(
    machine: Machine, database: Database
) -> None:
    """It meets its defect again, past the step where it was saved."""
    job_id = machine.submit(scripted.LATE_DEFECT, steps=60)
    machine.start_worker()
    failed = machine.wait_state(job_id, "failed")
    assert failed.checkpoint is not None
    retry(machine, job_id, {})
    wait_for(lambda: machine.job(job_id).attempt == 2, "the second attempt")
    machine.wait_state(job_id, "failed")
    texts = [event.data["text"] for event in machine.events(job_id) if event.attempt == 2
             and event.type == "message"]  # fmt: skip
    assert f"resumes from step {failed.checkpoint['step']}, saved by attempt 1" in texts
    with database.transaction() as db:
        assert outcomes_of(db, job_id) == ["failed", "failed"]


def test_jobs_in_a_row_run_one_after_the_other(machine: Machine) -> None:
    """Each is let go by the end of the one before, and no worker looks by itself for a minute."""
    machine.settings = machine.settings.model_copy(update={"worker_poll_seconds": 60.0})
    first = machine.submit()
    second = machine.submit(after=[first])
    third = machine.submit(priority=5, after=[first, second])
    for _ in range(2):
        machine.start_worker()
    machine.wait_state(third, "succeeded")
    order = [claims_of(machine, job_id)[0] for job_id in (first, second, third)]
    ends = [machine.events(job_id)[-1].created_at for job_id in (first, second, third)]
    assert order[0] < ends[0] < order[1] < ends[1] < order[2] < ends[2]


def test_all_that_waited_for_a_job_start_at_once(machine: Machine) -> None:
    """An idle worker is woken for the second one."""
    machine.settings = machine.settings.model_copy(update={"worker_poll_seconds": 600.0})
    first = machine.submit(steps=STEPS)
    for _ in range(2):
        machine.start_worker()
    training(machine, first)
    waiting = [machine.submit(steps=ENDLESS, after=[first]) for _ in range(2)]
    for job_id in waiting:
        machine.wait_state(job_id, "running")


def test_a_job_that_waits_for_one_that_fails_never_starts(
    machine: Machine, database: Database
) -> None:
    first = machine.submit(scripted.DIVERGES)
    second = machine.submit(after=[first])
    machine.start_worker()
    machine.wait_state(first, "failed")
    assert machine.job(second).state == "failed"  # in the same transaction
    with database.transaction() as db:
        assert reasons_of(db, second) == ["submitted", "dependency_failed"]


def training(machine: Machine, job_id: UUID) -> None:
    """Waits for its first steps."""
    wait_for(lambda: machine.job(job_id).progress.get("step", 0) >= 1, "the first step")


def wait_held(machine: Machine, job_id: UUID) -> Job:
    wait_for(lambda: machine.job(job_id).paused_at is not None, "the job is held")
    return machine.job(job_id)


def pause(machine: Machine, job_id: UUID) -> None:
    with machine.database.transaction() as db:
        store.pause(db, machine.job(job_id).workspace_id, job_id)


def resume(machine: Machine, job_id: UUID) -> None:
    with machine.database.transaction() as db:
        store.resume(db, machine.job(job_id).workspace_id, job_id)
    machine.waker.wake("cpu")


def retry(machine: Machine, job_id: UUID, changes: RetryChanges) -> None:
    workspace_id = machine.job(job_id).workspace_id
    with machine.database.transaction() as db:
        store.retry(db, workspace_id, job_id, changes, defaults=UNLIMITED)
    machine.waker.wake("cpu")


def claims_of(machine: Machine, job_id: UUID) -> list[datetime]:
    events = machine.events(job_id)
    return [event.created_at for event in events if event.data.get("reason") == "claimed"]


def weights_of(machine: Machine, job_id: UUID) -> str:
    path = machine.artifacts.model_dir(job_id, machine.job(job_id).attempt)
    state = json.loads(machine.state_file(machine.artifacts.relative(path)))
    assert state["step"] == STEPS
    return str(state["weights"])
