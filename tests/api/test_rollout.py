"""A version is in the memory of every API process before an alias moves to it."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from starlette.testclient import TestClient

from rnn.checkpoint import manifest_sha256
from service.artifacts.store import ArtifactStore
from service.db.engine import Database
from service.db.notifications import connection_string
from service.db.tables import Workspace
from service.inference import loaded
from service.inference.requests import Device
from service.registry import rollout
from service.registry.rollout import roll_out
from service.registry.store import announce
from service.settings import Settings
from tests.api.conftest import MakeApp, problem
from tests.serving import GENERATION, publish

Announce = Callable[[str], None]


@pytest.fixture
def clients(make_app: MakeApp, settings: Settings) -> Iterator[list[TestClient]]:
    """Two API processes, each with an engine, that hear of versions."""
    with (
        TestClient(make_app(), base_url="http://localhost") as one,
        TestClient(make_app(), base_url="http://localhost") as two,
        psycopg.connect(
            connection_string(settings.database_url.get_secret_value()), autocommit=True
        ) as connection,
    ):
        while rollout._listeners(connection) < 2:
            time.sleep(0.01)
        for client in (one, two):
            while client.get("/ready").status_code != 200:
                time.sleep(0.01)
        yield [one, two]


@pytest.fixture
def announced(database: Database, settings: Settings, trained: Mapping[str, Path]) -> Announce:
    """Announces a network that nobody has loaded yet."""
    artifacts = ArtifactStore(settings.artifact_dir)
    folder = artifacts.absolute("somewhere")
    folder.symlink_to(trained[GENERATION])
    digest = manifest_sha256(folder)

    def announced(number: str) -> None:
        with database.transaction() as db:
            announce(db, "somewhere", digest, number)

    return announced


@pytest.mark.usefixtures("clients")
def test_it_waits_for_every_process(
    announced: Announce, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Semaphore(0), threading.Semaphore(0)
    load = loaded._load_and_warm

    def slow(folder: Path, sha256: str, device: Device) -> loaded.Loaded:
        begun.release()
        assert may_end.acquire(timeout=30)
        return load(folder, sha256, device)

    monkeypatch.setattr(loaded, "_load_and_warm", slow)
    monkeypatch.setattr(rollout, "PATIENCE_SECONDS", 60.0)
    url = settings.database_url.get_secret_value()
    with ThreadPoolExecutor(1) as pool:
        rolling = pool.submit(roll_out, url, announced)
        for _ in range(2):
            assert begun.acquire(timeout=30)
        may_end.release()
        with pytest.raises(TimeoutError):  # one of them has it
            rolling.result(timeout=0.3)
        may_end.release()
        rolling.result(timeout=30)
        roll_out(url, announced)  # which both have by now
    assert not begun.acquire(blocking=False)


@pytest.mark.usefixtures("clients")
def test_one_that_does_not_answer_is_not_waited_for_without_end(
    announced: Announce,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tells = threading.Lock()
    tell = rollout.tell_loaded

    def once(database: Database, number: str) -> None:
        if tells.acquire(blocking=False):
            tell(database, number)

    monkeypatch.setattr("service.api.served.tell_loaded", once)
    monkeypatch.setattr(rollout, "PATIENCE_SECONDS", 0.5)
    roll_out(settings.database_url.get_secret_value(), announced)
    assert "1 API processes have not loaded a version in time" in caplog.messages


def test_a_network_that_cannot_be_loaded_holds_up_nothing(
    clients: list[TestClient],
    database: Database,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def missing(number: str) -> None:
        with database.transaction() as db:
            announce(db, "nowhere", "0" * 64, number)

    roll_out(settings.database_url.get_secret_value(), missing)
    assert not [text for text in caplog.messages if "in time" in text]
    assert [client.get("/ready").status_code for client in clients] == [200, 200]


def test_an_alias_stays_where_the_version_cannot_be_loaded(
    clients: list[TestClient],
    database: Database,
    settings: Settings,
    workspace: Workspace,
    headers: dict[str, str],
    trained: Mapping[str, Path],
    tmp_path: Path,
) -> None:
    broken = shutil.copytree(trained[GENERATION], tmp_path / "broken")
    manifest = broken / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")  # else it would be the whole one's by name
    (broken / "tensors.safetensors").write_bytes(b"cut off")
    artifacts = ArtifactStore(settings.artifact_dir)
    for folder in (broken, trained[GENERATION]):
        publish(database, artifacts, workspace.id, "verses", GENERATION, folder)
    model, client = "/api/v1/models/verses", clients[0]
    moved = client.put(f"{model}/aliases/production", json={"version": 1}, headers=headers)
    back = client.post(f"{model}/rollback", headers=headers)
    for refused in (moved, back):
        assert (refused.status_code, problem(refused)) == (503, "unavailable")
        assert "cannot be loaded" in refused.json()["detail"]
    assert client.get(model, headers=headers).json()["aliases"] == {"production": 2}


def test_every_process_unloads_what_no_alias_stands_for(
    clients: list[TestClient],
    database: Database,
    settings: Settings,
    workspace: Workspace,
    headers: dict[str, str],
    trained: Mapping[str, Path],
    tmp_path: Path,
) -> None:
    """One that was not asked for the model kept its old versions until its memory was full."""
    other = shutil.copytree(trained[GENERATION], tmp_path / "other")
    manifest = other / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    artifacts, model = ArtifactStore(settings.artifact_dir), "/api/v1/models/verses"

    def holds(networks: int) -> None:
        for client in clients:
            engine, since = client.app.state.services.engine, time.monotonic()  # type: ignore[attr-defined]
            while engine.held.networks != networks:
                assert time.monotonic() - since < 20
                time.sleep(0.01)

    def move(alias: str, version: int) -> None:
        moved = clients[0].put(
            f"{model}/aliases/{alias}", json={"version": version}, headers=headers
        )
        assert moved.status_code == 200

    publish(database, artifacts, workspace.id, "verses", GENERATION, trained[GENERATION])
    holds(1)
    move("canary", 1)
    publish(database, artifacts, workspace.id, "verses", GENERATION, other)
    holds(2)
    move("canary", 2)
    holds(1)
    for client in clients:  # by its number it is loaded again
        body = {"model": "verses:1", "prompt": "the ", "max_new_tokens": 1}
        answer = client.post("/api/v1/generations", json=body, headers=headers)
        assert answer.json()["model"]["version"] == 1
    holds(2)


def test_a_network_that_another_model_serves_stays(
    clients: list[TestClient],
    database: Database,
    settings: Settings,
    workspace: Workspace,
    headers: dict[str, str],
    trained: Mapping[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the starters, which every workspace has."""
    artifacts, said, deleted = ArtifactStore(settings.artifact_dir), list[str](), list[str]()
    for name in ("verses", "copies"):
        publish(database, artifacts, workspace.id, name, GENERATION, trained[GENERATION])
    engine = clients[1].app.state.services.engine  # type: ignore[attr-defined]
    monkeypatch.setattr(engine, "replaced", lambda sha256: said.append(f"{sha256} {deleted}"))
    for name in ("verses", "copies"):
        deleted.append(name)
        assert clients[0].delete(f"/api/v1/models/{name}", headers=headers).status_code == 204
    while not said:
        time.sleep(0.01)
    assert said == [f"{manifest_sha256(trained[GENERATION])} {deleted}"]


def test_nobody_is_waited_for_where_nobody_listens(
    announced: Announce, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    roll_out(settings.database_url.get_secret_value(), announced)
    assert not caplog.messages
    numbers: list[str] = []
    roll_out("postgresql+psycopg://nobody@127.0.0.1:1/nothing", numbers.append)
    assert not numbers
    assert "a version is not loaded before requests come" in caplog.text
