"""The application beside a machine that works for it: asked over HTTP, in its own process."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from starlette.testclient import TestClient

from service.app import create_app
from service.auth.store import create_key, ensure_workspace
from service.auth.subjects import ALL_SCOPES
from tests.integration.machine import Machine
from tests.serving import publish


@dataclass
class Asking:
    """A client with a key of all scopes."""

    machine: Machine
    client: TestClient
    headers: dict[str, str]
    workspace_id: UUID

    def publish(self, name: str, task: str, folder: Path) -> None:
        machine = self.machine
        publish(machine.database, machine.artifacts, self.workspace_id, name, task, folder)

    def upload(self, name: str, content: str) -> str:
        answer = self.client.post(
            "/api/v1/datasets", files={"file": (name, content)}, headers=self.headers
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.client.request(method, f"/api/v1{path}", json=body, headers=self.headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    def submit_batch(self, dataset: str, **body: Any) -> UUID:
        return UUID(self.ask("POST", "/batches", {"dataset": dataset, **body}, 202)["id"])

    def result(self, batch_id: UUID) -> bytes:
        """The file of a batch, once it has succeeded."""
        states = ("succeeded", "failed", "cancelled")
        job = self.machine.wait_state(batch_id, *states, timeout_seconds=60)
        assert job.state == "succeeded", job.error
        dataset = self.ask("GET", f"/batches/{batch_id}")["result"]
        path = f"/api/v1/datasets/{dataset}/content"
        answer = self.client.get(path, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.content

    def rows(self, batch_id: UUID) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.result(batch_id).splitlines()]


@contextmanager
def asking(machine: Machine) -> Iterator[Asking]:
    with machine.database.transaction() as db:
        workspace_id = ensure_workspace(db, "default").id
        _, key = create_key(db, workspace_id, "test", ALL_SCOPES)
    with TestClient(create_app(machine.settings), base_url="http://localhost") as client:
        yield Asking(machine, client, {"Authorization": f"Bearer {key}"}, workspace_id)
