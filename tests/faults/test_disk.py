"""A disk without a byte of space left, under the artifacts of jobs and of the service."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from rnn.checkpoint import manifest_sha256, verify
from service.app import create_app
from service.auth.store import create_key
from service.auth.subjects import ALL_SCOPES
from service.db.engine import Database
from service.settings import Settings
from tests.api.conftest import bearer, problem
from tests.disks import Disk, small_disk
from tests.integration.machine import Machine, wait_for

pytestmark = pytest.mark.small_disk

CONFIG = {
    "task": "time-series-forecasting",
    "architecture": {"hidden_size": 8, "num_layers": 1},
    "training": {
        "max_steps": 100_000,
        "batch_size": 8,
        "max_epochs": 10_000,
        "early_stopping_patience": None,
    },
    "data": {"horizon": 2, "context_length": 8, "season_length": 4},
}
SERIES = "y\n" + "\n".join(str(10 + (i % 4) + i / 50) for i in range(120)) + "\n"
BOOK = b"Some words to learn from, more than fit.\n" * 50_000


@pytest.fixture
def disk() -> Iterator[Disk]:
    with small_disk() as disk:
        yield disk


@pytest.fixture
def machine(
    disk: Disk, quick_settings: Settings, database: Database, tmp_path: Path
) -> Iterator[Machine]:
    """Its artifacts lie on the small disk."""
    settings = quick_settings.model_copy(update={"artifact_dir": disk.folder / "artifacts"})
    machine = Machine(settings, database, tmp_path)
    yield machine
    machine.close()


@pytest.fixture
def client(machine: Machine) -> Iterator[TestClient]:
    app = create_app(machine.settings)
    with TestClient(app, base_url="http://localhost") as client:
        yield client
    app.state.services.waker.close()
    app.state.services.database.close()


def headers_for(machine: Machine, job_id: UUID) -> dict[str, str]:
    with machine.database.transaction() as db:
        _, key = create_key(db, machine.job(job_id).workspace_id, "test", ALL_SCOPES)
    return bearer(key)


def upload(client: TestClient, headers: dict[str, str], content: bytes = BOOK) -> Response:
    return client.post("/api/v1/datasets", headers=headers, files={"file": ("book.txt", content)})


def test_a_disk_that_fills_up_costs_a_training_nothing_but_time(
    machine: Machine, client: TestClient, disk: Disk
) -> None:
    """It fails with its last checkpoint intact, and a retry goes on from there; the service answers
    all the while."""
    job_id = machine.submit_config(CONFIG, SERIES)
    headers = headers_for(machine, job_id)
    machine.start_worker("workers.app")
    machine.wait_checkpoint(job_id, timeout_seconds=60)
    disk.fill()
    job = machine.wait_state(job_id, "failed", timeout_seconds=60)
    assert job.error is not None
    assert (job.error["type"], job.attempt) == ("insufficient-storage", 1)
    kept = job.checkpoint
    assert kept is not None
    folder = machine.artifacts.absolute(kept["path"])
    verify(folder)
    assert manifest_sha256(folder) == kept["sha256"]
    assert not list(folder.parent.glob(".*"))  # what was not finished gave its space back

    answer = upload(client, headers)
    assert (answer.status_code, problem(answer)) == (507, "insufficient-storage")
    assert client.get(f"/api/v1/jobs/{job_id}", headers=headers).json()["state"] == "failed"
    assert client.get(f"/api/v1/jobs/{job_id}/logs", headers=headers).status_code == 200
    assert client.get("/ready").status_code == 200

    disk.free()
    assert upload(client, headers).status_code == 201
    answer = client.post(f"/api/v1/jobs/{job_id}/retry", headers=headers)
    assert answer.is_success, answer.text
    texts = wait_for(
        lambda: [
            event.data["text"]
            for event in machine.events(job_id)
            if event.attempt == 2 and "resumes" in event.data.get("text", "")
        ],
        "the resumption",
        60,
    )
    assert texts == [f"resumes from step {kept['step']}, saved by attempt 1"]
    wait_for(
        lambda: machine.job(job_id).checkpoint["attempt"] == 2,  # type: ignore[index]
        "a checkpoint of the second attempt",
        60,
    )


def test_an_upload_that_does_not_fit_leaves_nothing_behind(
    machine: Machine, client: TestClient, disk: Disk
) -> None:
    headers = headers_for(machine, machine.submit())
    free_before = free_bytes(disk)
    answer = upload(client, headers, BOOK * 10)
    assert (answer.status_code, problem(answer)) == (507, "insufficient-storage")
    assert "no space left" in answer.json()["detail"]
    assert free_bytes(disk) == free_before
    assert len(client.get("/api/v1/datasets", headers=headers).json()["data"]) == 1
    assert upload(client, headers).status_code == 201


def test_a_job_that_begins_on_a_full_disk_fails_at_once(machine: Machine, disk: Disk) -> None:
    job_id = machine.submit()
    disk.fill()
    machine.start_worker()
    job = machine.wait_state(job_id, "failed")
    assert job.error is not None
    assert job.error["type"] == "insufficient-storage"
    disk.free()
    machine.wait_state(machine.submit(), "succeeded")


def free_bytes(disk: Disk) -> int:
    state = os.statvfs(disk.folder)
    return state.f_bavail * state.f_frsize
