"""In what precision versions answer, and that they are loaded before they are asked."""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import null, update
from starlette.testclient import TestClient

from rnn.checkpoint import manifest_sha256
from rnn.kernels import library
from service.artifacts.store import ArtifactStore
from service.db.engine import Database
from service.db.tables import ModelVersion, Workspace
from service.inference import loaded
from service.inference.requests import Device
from service.settings import Settings
from tests.api.conftest import Publish
from tests.serving import FORECASTING, GENERATION, publish

PATH = "/api/v1/models"


def test_a_version_shows_in_what_precision_it_answers(
    app: FastAPI,
    client: TestClient,
    headers: dict[str, str],
    publish_version: Publish,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(3):
        publish_version("demand", FORECASTING)
    recorded = {
        "precision": "int8",
        "losses": {"float32": 0.5, "bfloat16": None, "int8": 0.5},
        "positions": 7,
        "max_loss_increase": 0.001,
    }
    with database.transaction() as db:
        db.execute(update(ModelVersion).where(ModelVersion.version == 1).values(serving=null()))
        db.execute(update(ModelVersion).where(ModelVersion.version == 2).values(serving=recorded))
    versions = f"{PATH}/demand/versions"
    assert client.get(f"{versions}/1", headers=headers).json()["serving"] is None
    monkeypatch.setattr(library, "status", lambda: library.Status("avx2", "it was chosen"))
    shown = client.get(f"{versions}/2", headers=headers).json()["serving"]
    assert shown == {**recorded, "answers_in": "int8"}
    engine = app.state.services.engine
    while not engine.ready:
        time.sleep(0.01)
    monkeypatch.setattr(engine, "device", "cuda")
    shown = client.get(f"{versions}/2", headers=headers).json()["serving"]
    assert shown == {**recorded, "answers_in": "bfloat16"}
    monkeypatch.setattr(engine, "device", "cpu")
    monkeypatch.setattr(library, "status", lambda: library.Status("torch", "it was chosen"))
    listed = client.get(versions, headers=headers).json()["data"]
    assert [version["serving"] and version["serving"]["answers_in"] for version in listed] == [
        "float32",
        "float32",
        None,
    ]


@pytest.mark.parametrize("route", ["aliases/production", "rollback"])
def test_a_version_is_loaded_before_an_alias_moves_to_it(
    client: TestClient,
    headers: dict[str, str],
    publish_version: Publish,
    trained: Mapping[str, Path],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    route: str,
) -> None:
    for _ in range(2):
        publish_version("verses", GENERATION)
    path = f"{PATH}/verses"
    while_loading: list[Any] = []
    load = loaded._load_and_warm

    def looked(folder: Path, sha256: str, device: Device) -> loaded.Loaded:
        if sha256 == "f" * 64:
            while_loading.append(client.get(path, headers=headers).json()["aliases"])
            folder, sha256 = trained[GENERATION], manifest_sha256(trained[GENERATION])
        return load(folder, sha256, device)

    monkeypatch.setattr(loaded, "_load_and_warm", looked)
    with database.transaction() as db:  # bytes that were not loaded yet
        older = update(ModelVersion).where(ModelVersion.version == 1)
        db.execute(older.values(artifact_sha256="f" * 64))
    if route == "rollback":
        moved = client.post(f"{path}/{route}", headers=headers)
    else:
        moved = client.put(f"{path}/{route}", json={"version": 1}, headers=headers)
    assert moved.json()["aliases"] == {"production": 1}
    assert while_loading == [{"production": 2}]


@pytest.mark.usefixtures("client")
def test_news_warms_what_was_announced(
    client: TestClient,
    trained: Mapping[str, Path],
    database: Database,
    settings: Settings,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before any request, and before the alias moves: the announcement alone loads it."""
    loads: list[str] = []
    load = loaded._load_and_warm

    def remembered(folder: Path, sha256: str, device: Device) -> loaded.Loaded:
        loads.append(sha256)
        return load(folder, sha256, device)

    monkeypatch.setattr(loaded, "_load_and_warm", remembered)
    artifacts = ArtifactStore(settings.artifact_dir)
    publish(database, artifacts, workspace.id, "verses", GENERATION, trained[GENERATION])
    manifest = (trained[GENERATION] / "manifest.json").read_bytes()
    digest = hashlib.sha256(manifest).hexdigest()
    assert json.loads(manifest)["files"]
    for _ in range(200):
        if digest in loads:
            return
        time.sleep(0.02)
    raise AssertionError("never loaded")
