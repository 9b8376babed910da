"""Batches of a network that is played by `scripted.Lengths`: stopped, killed and gone on with."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from sqlalchemy import func, select

from benchmarks.faults import scripted
from rnn.config import ClassificationConfig
from service.db.engine import Database
from service.db.tables import Dataset, Job
from tests.integration.asking import Asking, asking
from tests.integration.machine import Machine, has_ended, trainers_of, wait_for
from tests.job_records import outcomes_of
from tests.serving import CLASSIFICATION

ROWS = 2_000


@pytest.fixture
def service(machine: Machine, tmp_path: Path) -> Iterator[Asking]:
    """With a model "reviews" that is nothing but a folder."""
    folder = tmp_path / "model"
    scripted.save(folder, {"step": 1, "weights": ""})
    config = ClassificationConfig(task=CLASSIFICATION).model_dump(mode="json")
    (folder / "description.json").write_text(json.dumps({"config": config}))
    with asking(machine) as service:
        service.publish("reviews", CLASSIFICATION, folder)
        yield service


def submit(service: Asking, rows: int = ROWS, **body: Any) -> UUID:
    content = "".join(f'{{"text": "{"x" * (row % 50)}"}}\n' for row in range(1, rows + 1))
    return service.submit_batch(service.upload("texts.jsonl", content), model="reviews", **body)


def expected(rows: int = ROWS) -> list[dict[str, Any]]:
    return [
        {"row": row, "length": row % 50} if row % 50 else {"row": row, "error": "it is empty"}
        for row in range(1, rows + 1)
    ]


def in_the_middle(machine: Machine, batch_id: UUID) -> Job:
    """The batch, of which some rows are saved and most are to be done."""
    machine.wait_checkpoint(batch_id)
    job = machine.job(batch_id)
    assert job.state == "running"
    return job


def trainer_of(worker: subprocess.Popen[bytes]) -> psutil.Process:
    (trainer,) = trainers_of(worker)
    return trainer


def test_a_batch_ends_as_a_data_set(machine: Machine, service: Asking) -> None:
    batch_id = submit(service, rows=120, name="lengths", metadata={"for": "the test"})
    machine.start_worker()
    assert service.rows(batch_id) == expected(120)
    batch = service.ask("GET", f"/batches/{batch_id}")
    assert batch["progress"] | {"rows_per_second": None} == {
        "fraction": 1.0,
        "rows": 120,
        "total_rows": 120,
        "failed_rows": 2,
        "rows_per_second": None,
    }
    dataset = service.ask("GET", f"/datasets/{batch['result']}")
    assert (dataset["name"], dataset["format"], dataset["rows"]) == ("lengths", "jsonl", 120)
    columns = {each["name"]: each["type"] for each in dataset["profile"]["columns"]}
    assert columns == {"row": "number", "length": "number", "error": "text"}
    events = service.ask("GET", f"/jobs/{batch_id}/events?limit=1000")["data"]
    assert events[-1]["data"]["dataset"] == batch["result"]
    rows = [event["data"]["rows"] for event in events if event["data"].get("kind") == "rows"]
    assert rows[-1] == 120
    assert not list(machine.artifacts.job_dir(batch_id).glob("attempt-*/checkpoints"))


def test_a_killed_trainer_costs_the_rows_that_were_not_saved(
    machine: Machine, service: Asking, database: Database
) -> None:
    worker = machine.start_worker()
    batch_id = submit(service)
    machine.waker.wake("cpu")
    in_the_middle(machine, batch_id)
    trainer_of(worker).kill()
    assert service.rows(batch_id) == expected()
    with database.transaction() as db:
        assert outcomes_of(db, batch_id) == ["crashed", "finished"]
    first = next(
        event.data
        for event in machine.events(batch_id)
        if event.attempt == 2 and "rows" in event.data
    )
    assert 0 < first["rows"] < ROWS


def test_a_pause_saves_and_a_resumption_goes_on(machine: Machine, service: Asking) -> None:
    machine.start_worker()
    batch_id = submit(service)
    in_the_middle(machine, batch_id)
    service.ask("POST", f"/batches/{batch_id}/pause", status=202)
    machine.wait_state(batch_id, "queued")
    batch = service.ask("GET", f"/batches/{batch_id}")
    assert batch["hold"] == "paused"
    saved = machine.job(batch_id).checkpoint
    assert saved is not None
    assert saved["step"] == batch["progress"]["rows"]
    service.ask("POST", f"/batches/{batch_id}/resume", status=202)
    assert service.rows(batch_id) == expected()


def test_sigterm_drains(machine: Machine, service: Asking, database: Database) -> None:
    worker = machine.start_worker()
    batch_id = submit(service)
    in_the_middle(machine, batch_id)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0
    job = machine.job(batch_id)
    assert (job.state, job.crashes_without_progress) == ("queued", 0)
    machine.start_worker()
    assert service.rows(batch_id) == expected()
    with database.transaction() as db:
        assert outcomes_of(db, batch_id) == ["drained", "finished"]


def test_a_cancel_leaves_nothing(machine: Machine, service: Asking) -> None:
    worker = machine.start_worker()
    batch_id = submit(service)
    in_the_middle(machine, batch_id)
    trainer = trainer_of(worker)
    service.ask("POST", f"/batches/{batch_id}/cancel", status=202)
    machine.wait_state(batch_id, "cancelled", timeout_seconds=10)
    wait_for(lambda: has_ended(trainer), "the trainer's end")
    assert service.ask("GET", f"/batches/{batch_id}")["result"] is None
    wait_for(lambda: not machine.artifacts.jobs_with_checkpoints(), "the end of the folders")


def test_a_worker_that_was_replaced_changes_nothing(
    machine: Machine, service: Asking, database: Database
) -> None:
    """Stopped past its lease, it goes on to write rows that somebody else has written."""
    frozen = machine.start_worker()
    batch_id = submit(service)
    in_the_middle(machine, batch_id)
    trainer = trainer_of(frozen)
    trainer.suspend()
    os.kill(frozen.pid, signal.SIGSTOP)
    machine.start_worker()
    with machine.reaper():
        whole = service.rows(batch_id)
        trainer.resume()
        os.kill(frozen.pid, signal.SIGCONT)
        wait_for(lambda: has_ended(trainer), "the end of the replaced trainer")
    assert whole == service.rows(batch_id) == expected()
    assert frozen.poll() is None  # it goes on to work
    with database.transaction() as db:
        assert outcomes_of(db, batch_id) == ["lease_expired", "finished"]
        assert db.scalar(select(func.count()).select_from(Dataset)) == 3  # and that of the model


def test_a_part_that_was_changed_is_not_gone_on_from(machine: Machine, service: Asking) -> None:
    worker = machine.start_worker()
    batch_id = submit(service)
    in_the_middle(machine, batch_id)
    worker.send_signal(signal.SIGTERM)
    worker.wait(10)
    for part in machine.artifacts.checkpoints_dir(batch_id, 1).glob("part-1-*.jsonl"):
        part.write_bytes(part.read_bytes().replace(b"length", b"breath"))
    machine.start_worker()
    assert service.rows(batch_id) == expected()
    warnings = [
        e.data["text"] for e in machine.events(batch_id) if e.data.get("level") == "warning"
    ]
    assert all("torn or was changed" in text for text in warnings)
    assert warnings


def test_a_result_beyond_the_limit_fails(machine: Machine, service: Asking) -> None:
    machine.settings = machine.settings.model_copy(update={"max_result_bytes": 20_000})
    machine.start_worker()
    batch_id = submit(service)
    job = machine.wait_state(batch_id, "failed", "succeeded")
    assert job.error is not None
    assert job.error["type"] == "validation-error"
    assert "more than 20000 bytes" in job.error["detail"]


def test_a_model_whose_files_are_gone_fails_the_batch(machine: Machine, service: Asking) -> None:
    batch_id = submit(service, rows=10)
    base = machine.job(batch_id).base
    assert base is not None
    (machine.artifacts.absolute(base["path"]) / "manifest.json").unlink()
    machine.start_worker()
    job = machine.wait_state(batch_id, "failed", "succeeded")
    assert job.error is not None
    assert job.error["type"] == "not-found"
    assert "reviews:1 is not there any more" in job.error["detail"]
