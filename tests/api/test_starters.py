"""Networks that come with the program: there in a new workspace, and like any other after that."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from rnn.checkpoint import load_model, verify
from service.artifacts.store import ArtifactStore
from service.auth.store import create_key, ensure_workspace
from service.auth.subjects import ALL_SCOPES
from service.db.engine import Database
from service.registry.starters import open_workspace, publish_starters, read_starters
from service.settings import Settings
from tests.api.conftest import bearer
from tests.serving import CLASSIFICATION, FORECASTING, GENERATION

MAX_BYTES = 8 * 2**20
NAMES = {FORECASTING: "any-series", CLASSIFICATION: "any-text", GENERATION: "any-verse"}


@pytest.fixture
def starters(trained: Mapping[str, Path], tmp_path: Path) -> Path:
    folder = tmp_path / "starters"
    for task, name in NAMES.items():
        shutil.copytree(trained[task], folder / name / "model")
        (folder / name / "card.md").write_text(f"# {name}\n\nOf generated data.\n")
        recorded = {"metrics": {"loss": 0.5}, "parameters": 1234, "code_version": "test"}
        (folder / name / "starter.json").write_text(json.dumps(recorded))
    return folder


@pytest.fixture
def artifacts(settings: Settings) -> ArtifactStore:
    return ArtifactStore(settings.artifact_dir)


@pytest.fixture
def published(
    database: Database, artifacts: ArtifactStore, starters: Path, client: TestClient
) -> dict[str, str]:
    """Headers with a key of a new workspace that has the starters."""
    with database.transaction() as db:
        workspace = open_workspace(db, lambda: artifacts, "new", starters)
        _, key = create_key(db, workspace.id, "test", ALL_SCOPES)
    return bearer(key)


def test_the_three_endpoints_answer(client: TestClient, published: dict[str, str]) -> None:
    answers = [
        client.post(f"/api/v1/{path}", json=body, headers=published)
        for path, body in (
            (
                "forecasts",
                {"model": "any-series", "series": [[1, 2, 3] * 9], "horizon": 2},
            ),
            ("sentiment", {"model": "any-text", "text": "a warm film"}),
            ("generations", {"model": "any-verse", "prompt": "the quick", "max_new_tokens": 4}),
        )
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200], answers


def test_a_starter_is_a_version_without_a_job(
    client: TestClient, published: dict[str, str]
) -> None:
    version = client.get("/api/v1/models/any-text/versions/1", headers=published).json()
    assert version["job_id"] is version["dataset_id"] is version["dataset_sha256"] is None
    assert version["aliases"] == ["production"]
    assert version["task"] == version["config"]["task"] == CLASSIFICATION
    assert version["metrics"] == {"loss": 0.5}
    assert version["parameters"] == 1234
    assert version["card"].startswith("# any-text")
    log = client.get("/api/v1/models/any-text/deployments", headers=published).json()["data"]
    assert [move["reason"] for move in log] == ["shipped"]


def test_a_starter_can_be_deleted_and_leaves_no_files(
    client: TestClient, published: dict[str, str], artifacts: ArtifactStore
) -> None:
    folders = list((artifacts.root / "starters").iterdir())
    assert len(folders) == len(NAMES)
    for name in NAMES.values():
        assert client.delete(f"/api/v1/models/{name}", headers=published).status_code == 204
    assert not any(folder.exists() for folder in folders)


def test_workspaces_have_starters_of_their_own(
    client: TestClient,
    published: dict[str, str],
    database: Database,
    artifacts: ArtifactStore,
    starters: Path,
) -> None:
    with database.transaction() as db:
        other = open_workspace(db, lambda: artifacts, "other", starters)
        _, key = create_key(db, other.id, "test", ALL_SCOPES)
    assert client.delete("/api/v1/models/any-text", headers=published).status_code == 204
    body = {"model": "any-text", "text": "a warm film"}
    assert client.post("/api/v1/sentiment", json=body, headers=bearer(key)).status_code == 200


def test_an_old_workspace_gets_none(
    database: Database, artifacts: ArtifactStore, starters: Path
) -> None:
    with database.transaction() as db:
        first = open_workspace(db, lambda: artifacts, "old", starters / "any-text")
        # No store is made for it: a command may not know where that is.
        assert open_workspace(db, pytest.fail, "old", starters).id == first.id
    assert not (artifacts.root / "starters").exists()


def test_shipped_starters_are_whole_small_and_described(
    database: Database, artifacts: ArtifactStore
) -> None:
    starters = read_starters()
    assert {starter.config["task"] for starter in starters} == set(NAMES)
    for starter in starters:
        model = starter.folder / "model"
        verify(model)
        load_model(model)
        assert sum(file.stat().st_size for file in model.iterdir()) <= MAX_BYTES, starter.name
        assert starter.card.startswith(f"# {starter.name}\n")
        for heading in ("## Data", "## Training", "## Figures", "## Limits"):
            assert heading in starter.card, (starter.name, heading)
    with database.transaction() as db:
        workspace = ensure_workspace(db, "shipped")
        assert publish_starters(db, artifacts, workspace.id) == [s.name for s in starters]
