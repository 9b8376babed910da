"""A started application on a fresh database, a workspace and keys for it."""

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import pytest
from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient

from service.app import create_app
from service.artifacts.store import ArtifactStore
from service.auth.store import create_key, ensure_workspace
from service.auth.subjects import ALL_SCOPES, Scope
from service.db.engine import Database
from service.db.tables import Workspace
from service.settings import Settings
from tests.api.probe import router
from tests.serving import CLASSIFICATION, FORECASTING, GENERATION, publish

MakeKey = Callable[..., str]
MakeApp = Callable[..., FastAPI]
Publish = Callable[[str, str], int]


@pytest.fixture
def make_app(settings: Settings) -> Iterator[MakeApp]:
    """Composes applications with some settings changed; their connections end with the test."""
    apps: list[FastAPI] = []

    def make(**changes: object) -> FastAPI:
        apps.append(create_app(settings.model_copy(update=changes)))
        return apps[-1]

    yield make
    for app in apps:
        app.state.services.waker.close()
        app.state.services.database.close()


@pytest.fixture
def app(make_app: MakeApp) -> FastAPI:
    return make_app()


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """Sends no key by itself: give `headers`."""
    with TestClient(app, base_url="http://localhost") as client:
        yield client


@pytest.fixture
def probe(app: FastAPI, client: TestClient) -> TestClient:
    """The same client, with the routes of `tests.api.probe` under /api/v1/probe."""
    app.include_router(router, prefix="/api/v1")
    return client


@pytest.fixture
def workspace(database: Database) -> Workspace:
    with database.transaction() as db:
        return ensure_workspace(db, "default")


@pytest.fixture
def make_key(database: Database, workspace: Workspace) -> MakeKey:
    """Makes the text of another key, in this workspace or in one of another name."""

    def make(
        scopes: Collection[Scope] = ALL_SCOPES,
        *,
        workspace_name: str | None = None,
        **times: object,
    ) -> str:
        with database.transaction() as db:
            owner = ensure_workspace(db, workspace_name) if workspace_name else workspace
            _, plain = create_key(db, owner.id, "test", scopes, **times)  # type: ignore[arg-type]
        return plain

    return make


@pytest.fixture
def key(make_key: MakeKey) -> str:
    """A key with all scopes."""
    return make_key()


@pytest.fixture
def headers(key: str) -> dict[str, str]:
    return bearer(key)


@pytest.fixture
def models(
    trained: Mapping[str, Path], database: Database, settings: Settings, workspace: Workspace
) -> dict[str, str]:
    """The names under which a tiny network of each task is published in this workspace."""
    names = {FORECASTING: "demand", CLASSIFICATION: "reviews", GENERATION: "verses"}
    for task, name in names.items():
        publish(
            database, ArtifactStore(settings.artifact_dir), workspace.id, name, task, trained[task]
        )
    return names


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def problem(response: Response) -> str:
    """The type of a problem document, after a look at what every one of them must hold."""
    body = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert body["status"] == response.status_code
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["title"]
    assert body["detail"]
    prefix, _, slug = str(body["type"]).rpartition(":")
    assert prefix == "urn:reprise:problem"
    return slug


@pytest.fixture
def publish_version(
    trained: Mapping[str, Path], database: Database, settings: Settings, workspace: Workspace
) -> Publish:
    """Publishes another version under a name; returns its number."""

    def make(name: str, task: str) -> int:
        artifacts = ArtifactStore(settings.artifact_dir)
        version = publish(database, artifacts, workspace.id, name, task, trained[task])
        return version.version

    return make
