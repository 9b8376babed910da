"""Models, versions, aliases, history and files."""

import hashlib
import time
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from service.auth.subjects import Scope
from service.db.engine import Database
from service.db.tables import Dataset, Job, Model, Workspace
from service.errors import ModelTaskMismatchError
from service.jobs.states import JobState
from service.registry import store
from service.settings import Settings
from tests.api.conftest import MakeKey, Publish, bearer, problem
from tests.serving import CLASSIFICATION, FORECASTING, GENERATION

PATH = "/api/v1/models"


@pytest.fixture
def demand(publish_version: Publish) -> str:
    """A path of a model with three versions."""
    for _ in range(3):
        publish_version("demand", FORECASTING)
    return f"{PATH}/demand"


def aliases(client: TestClient, headers: dict[str, str], path: str) -> Any:
    return client.get(path, headers=headers).json()["aliases"]


def test_a_model_with_its_aliases(client: TestClient, headers: dict[str, str], demand: str) -> None:
    model = client.get(demand, headers=headers).json()
    assert model["name"] == "demand"
    assert model["task"] == FORECASTING
    assert model["latest_version"] == 3
    assert model["aliases"] == {"production": 3}


def test_a_card_is_written_anew_and_taken_away(
    client: TestClient, headers: dict[str, str], demand: str, make_key: MakeKey
) -> None:
    first = client.get(f"{demand}/versions/2", headers=headers).json()
    assert first["card"] is None
    for card in ("# One", "# Two\r\n<b>", "x" * 20_000, None):
        answer = client.put(f"{demand}/versions/2/card", json={"card": card}, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {**first, "card": card}
        assert client.get(f"{demand}/versions/2", headers=headers).json()["card"] == card
    assert client.get(f"{demand}/versions/1", headers=headers).json()["card"] is None
    reader = bearer(make_key([Scope.MODELS_READ]))
    refused = client.put(f"{demand}/versions/2/card", json={"card": "x"}, headers=reader)
    assert (refused.status_code, problem(refused)) == (403, "forbidden")


@pytest.mark.parametrize(
    ("path", "body", "status", "location"),
    [
        ("demand/versions/2", {}, 422, "body.card"),
        ("demand/versions/2", {"card": 1}, 422, "body.card"),
        ("demand/versions/2", {"card": "x" * 20_001}, 422, "body.card"),
        ("demand/versions/2", {"card": "x\0"}, 422, "body.card"),
        ("demand/versions/4", {"card": "x"}, 404, None),
        ("other/versions/1", {"card": "x"}, 404, None),
    ],
)
def test_what_is_no_card_or_of_no_version_is_refused(
    client: TestClient,
    headers: dict[str, str],
    demand: str,
    path: str,
    body: dict[str, Any],
    status: int,
    location: str | None,
) -> None:
    answer = client.put(f"{PATH}/{path}/card", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    if location is not None:
        assert answer.json()["errors"][0]["location"] == location


def test_models_are_listed_newest_first_in_pages(
    client: TestClient, headers: dict[str, str], publish_version: Publish
) -> None:
    assert client.get(PATH, headers=headers).json() == {"data": [], "has_more": False}
    for name in ("a", "b", "c"):
        publish_version(name, GENERATION)
    first = client.get(PATH, params={"limit": 2}, headers=headers).json()
    assert [model["name"] for model in first["data"]] == ["c", "b"]
    assert first["has_more"]
    after = first["data"][-1]["id"]
    rest = client.get(PATH, params={"after": after}, headers=headers).json()
    assert [model["name"] for model in rest["data"]] == ["a"]
    assert not rest["has_more"]


def test_a_page_after_a_record_of_another_list_is_refused(
    client: TestClient, headers: dict[str, str], demand: str, publish_version: Publish
) -> None:
    """Versions and moves had a paging of their own: any UUID was taken for a place in the list."""
    publish_version("other", FORECASTING)
    for part in ("versions", "deployments"):
        theirs = client.get(f"{PATH}/other/{part}", headers=headers).json()["data"]
        for after in (theirs[0]["id"], "01890000-0000-7000-8000-000000000000"):
            response = client.get(f"{demand}/{part}", params={"after": after}, headers=headers)
            assert (response.status_code, problem(response)) == (422, "validation-error")


def test_versions_are_listed_newest_first_in_pages(
    client: TestClient, headers: dict[str, str], demand: str
) -> None:
    first = client.get(f"{demand}/versions", params={"limit": 2}, headers=headers).json()
    assert [version["version"] for version in first["data"]] == [3, 2]
    assert [version["aliases"] for version in first["data"]] == [["production"], []]
    after = first["data"][-1]["id"]
    rest = client.get(f"{demand}/versions", params={"after": after}, headers=headers).json()
    assert [version["version"] for version in rest["data"]] == [1]


def test_a_version_says_where_it_came_from(
    client: TestClient, headers: dict[str, str], demand: str, database: Database
) -> None:
    version = client.get(f"{demand}/versions/2", headers=headers).json()
    with database.transaction() as db:
        job = db.get_one(Job, UUID(version["job_id"]))
    expected = {
        "model": "demand",
        "version": 2,
        "task": FORECASTING,
        "attempt": 1,
        "dataset_id": str(job.dataset_id),
        "dataset_sha256": "d" * 64,
        "config": job.config,
        "seed": 7,
        "code_version": "test",
        "metrics": {"loss": 0.5},
        "parameters": 1234,
    }
    assert {name: version[name] for name in expected} == expected
    assert [file["name"] for file in version["files"]] == [
        "manifest.json",
        "description.json",
        "tensors.safetensors",
    ]


def test_files_are_downloaded_as_they_were_saved(
    client: TestClient, headers: dict[str, str], demand: str
) -> None:
    version = client.get(f"{demand}/versions/1", headers=headers).json()
    for file in version["files"]:
        response = client.get(f"{demand}/versions/1/files/{file['name']}", headers=headers)
        assert response.status_code == 200
        assert hashlib.sha256(response.content).hexdigest() == file["sha256"]
        assert len(response.content) == file["size_bytes"]
        assert response.headers["content-disposition"].startswith("attachment")
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["content-type"] == "application/octet-stream"
    manifest = client.get(f"{demand}/versions/1/files/manifest.json", headers=headers)
    assert hashlib.sha256(manifest.content).hexdigest() == version["artifact_sha256"]


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ("bytes=0-9", 206),
        ("bytes=-1", 206),
        ("bytes=999999999-", 416),
        ("bytes=0-1,999999999-", 416),
        ("bytes=" + ",".join(["0-"] * 9_000), 200),
        ("bytes=" + ",".join(["999999999-"] * 2_500), 200),
        ("bytes=9-0", 200),
        ("bytes=x", 200),
        ("bytes", 200),
        ("lines=1-2", 200),
    ],
    ids=lambda value: str(value)[:24],
)
def test_parts_of_a_file(
    client: TestClient, headers: dict[str, str], demand: str, wanted: str, status: int
) -> None:
    """dashboard-22: a Range that could not be served was answered in plain text, not a problem."""
    path = f"{demand}/versions/1/files/manifest.json"
    whole = client.get(path, headers=headers).content
    started = time.monotonic()
    response = client.get(path, headers={**headers, "Range": wanted})
    assert time.monotonic() - started < 1
    assert response.status_code == status
    if status == 416:
        assert problem(response) == "range-not-satisfiable"
        assert response.headers["content-range"] == f"bytes */{len(whole)}"
    elif status == 200:
        assert response.content == whole
    else:
        assert response.content in (whole[:10], whole[-1:])


@pytest.mark.parametrize(
    "name", ["secret.txt", "..%2fsecret.txt", "..%2f..%2f..%2fpg_hba.conf", "%2fetc%2fpasswd"]
)
def test_only_listed_files_are_downloaded(
    client: TestClient,
    headers: dict[str, str],
    demand: str,
    settings: Settings,
    name: str,
) -> None:
    for folder in settings.artifact_dir.glob("jobs/*/attempt-1/model"):
        (folder / "secret.txt").write_text("secret")
        (folder.parent / "secret.txt").write_text("secret")
    response = client.get(f"{demand}/versions/1/files/{name}", headers=headers)
    assert (response.status_code, problem(response)) == (404, "not-found")


def test_a_lost_folder_is_said(
    client: TestClient, headers: dict[str, str], demand: str, settings: Settings
) -> None:
    for manifest in settings.artifact_dir.glob("jobs/*/attempt-1/model/manifest.json"):
        manifest.unlink()
    response = client.get(f"{demand}/versions/1", headers=headers)
    assert (response.status_code, problem(response)) == (503, "unavailable")
    assert int(response.headers["retry-after"]) >= 1  # was missing where nobody gave a time


def test_an_alias_moves_and_goes(client: TestClient, headers: dict[str, str], demand: str) -> None:
    moved = client.put(f"{demand}/aliases/canary", json={"version": 1}, headers=headers)
    assert moved.status_code == 200
    assert moved.json()["aliases"] == {"canary": 1, "production": 3}
    client.put(f"{demand}/aliases/canary", json={"version": 2}, headers=headers)
    assert aliases(client, headers, demand) == {"canary": 2, "production": 3}
    assert client.delete(f"{demand}/aliases/canary", headers=headers).status_code == 204
    assert aliases(client, headers, demand) == {"production": 3}
    again = client.delete(f"{demand}/aliases/canary", headers=headers)
    assert (again.status_code, problem(again)) == (404, "not-found")


def test_the_log_of_moves(client: TestClient, headers: dict[str, str], demand: str) -> None:
    client.put(f"{demand}/aliases/canary", json={"version": 1}, headers=headers)
    client.put(f"{demand}/aliases/canary", json={"version": 1}, headers=headers)  # no move
    client.delete(f"{demand}/aliases/canary", headers=headers)
    log = client.get(f"{demand}/deployments", headers=headers).json()["data"]
    assert [
        (move["alias"], move["previous_version"], move["version"], move["reason"]) for move in log
    ] == [
        ("canary", 1, None, "removed"),
        ("canary", None, 1, "moved"),
        ("production", 2, 3, "trained"),
        ("production", 1, 2, "trained"),
        ("production", None, 1, "trained"),
    ]


def test_rolling_back_goes_one_move_back_each_time(
    client: TestClient, headers: dict[str, str], demand: str
) -> None:
    rollback = f"{demand}/rollback"
    assert client.post(rollback, headers=headers).json()["aliases"] == {"production": 2}
    body = {"alias": "production"}
    assert client.post(rollback, json=body, headers=headers).json()["aliases"] == {"production": 1}
    end = client.post(rollback, json={}, headers=headers)
    assert (end.status_code, problem(end)) == (409, "conflict")
    client.put(f"{demand}/aliases/production", json={"version": 3}, headers=headers)
    assert client.post(rollback, headers=headers).json()["aliases"] == {"production": 1}
    log = client.get(f"{demand}/deployments", params={"limit": 1}, headers=headers).json()
    assert log["data"][0]["reason"] == "rolled_back"
    assert log["has_more"]


def test_rolling_back_again_with_the_same_key_changes_nothing(
    client: TestClient, headers: dict[str, str], demand: str
) -> None:
    """A client that lost the answer and repeated the request went two versions back."""
    keyed = {**headers, "Idempotency-Key": "back"}
    first = client.post(f"{demand}/rollback", headers=keyed)
    again = client.post(f"{demand}/rollback", headers=keyed)
    assert first.content == again.content
    assert again.headers["idempotent-replayed"] == "true"
    assert aliases(client, headers, demand) == {"production": 2}


def test_a_removed_alias_can_be_rolled_back(
    client: TestClient, headers: dict[str, str], demand: str
) -> None:
    client.delete(f"{demand}/aliases/production", headers=headers)
    assert aliases(client, headers, demand) == {}
    client.post(f"{demand}/rollback", headers=headers)
    assert aliases(client, headers, demand) == {"production": 3}


def test_a_move_is_seen_by_the_next_request(
    client: TestClient, headers: dict[str, str], publish_version: Publish
) -> None:
    def answering(reference: str) -> int:
        body = {"model": reference, "text": "a lovely film"}
        response = client.post("/api/v1/sentiment", json=body, headers=headers)
        assert response.status_code == 200, response.text
        return int(response.json()["model"]["version"])

    publish_version("reviews", CLASSIFICATION)
    publish_version("reviews", CLASSIFICATION)
    path = f"{PATH}/reviews/aliases/production"
    for version in (1, 2, 1):
        assert client.put(path, json={"version": version}, headers=headers).status_code == 200
        assert answering("reviews") == version
        assert answering("reviews@production") == version
        assert answering("reviews:2") == 2
    client.post(f"{PATH}/reviews/rollback", headers=headers)
    assert answering("reviews") == 2
    client.delete(path, headers=headers)
    body = {"model": "reviews", "text": "a"}
    response = client.post("/api/v1/sentiment", json=body, headers=headers)
    assert (response.status_code, problem(response)) == (404, "not-found")


def test_deleting_a_model_removes_rows_and_files(
    client: TestClient,
    headers: dict[str, str],
    demand: str,
    settings: Settings,
    database: Database,
) -> None:
    assert list(settings.artifact_dir.glob("jobs/*/attempt-1/model"))
    assert client.delete(demand, headers=headers).status_code == 204
    assert not list(settings.artifact_dir.glob("jobs/*/attempt-1/model"))
    assert client.get(demand, headers=headers).status_code == 404
    with database.transaction() as db:
        assert len(db.scalars(select(Job)).all()) == 3


def test_a_model_in_training_is_not_deleted(
    client: TestClient,
    headers: dict[str, str],
    demand: str,
    database: Database,
    workspace: Workspace,
) -> None:
    with database.transaction() as db:
        dataset = db.scalars(select(Dataset)).first()
        assert dataset is not None
        db.add(
            Job(
                workspace_id=workspace.id,
                task=FORECASTING,
                dataset_id=dataset.id,
                model_name="demand",
                config={},
                device="cpu",
                queue="cpu",
                state=JobState.RUNNING,
            )
        )
    response = client.delete(demand, headers=headers)
    assert (response.status_code, problem(response)) == (409, "conflict")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "slug"),
    [
        ("GET", "/nobody", None, 404, "not-found"),
        ("GET", "/nobody/versions", None, 404, "not-found"),
        ("GET", "/nobody/deployments", None, 404, "not-found"),
        ("POST", "/nobody/rollback", {}, 404, "not-found"),
        ("DELETE", "/nobody", None, 404, "not-found"),
        ("PUT", "/nobody/aliases/a", {"version": 1}, 404, "not-found"),
        ("GET", "/demand/versions/4", None, 404, "not-found"),
        ("GET", "/demand/versions/0", None, 422, "validation-error"),
        ("GET", f"/demand/versions/{2**63}", None, 422, "validation-error"),
        ("GET", "/demand/versions/one", None, 422, "validation-error"),
        ("PUT", "/demand/aliases/canary", {"version": 4}, 404, "not-found"),
        ("PUT", "/demand/aliases/canary", {"version": 2**63}, 422, "validation-error"),
        ("PUT", "/demand/aliases/canary", {"version": "1"}, 422, "validation-error"),
        ("PUT", "/demand/aliases/canary", {}, 422, "validation-error"),
        ("PUT", "/demand/aliases/Canary", {"version": 1}, 422, "validation-error"),
        ("PUT", "/demand/aliases/1", {"version": 1}, 422, "validation-error"),
        ("POST", "/demand/rollback", {"alias": "x"}, 409, "conflict"),
        ("POST", "/demand/rollback", {"version": 1}, 422, "validation-error"),
        ("GET", "?limit=0", None, 422, "validation-error"),
        ("GET", "/demand/versions?after=x", None, 422, "validation-error"),
        ("PATCH", "/demand", {}, 405, "method-not-allowed"),
    ],
)
@pytest.mark.usefixtures("demand")
def test_what_is_refused(
    client: TestClient,
    headers: dict[str, str],
    method: str,
    path: str,
    body: Any,
    status: int,
    slug: str,
) -> None:
    response = client.request(method, PATH + path, json=body, headers=headers)
    assert (response.status_code, problem(response)) == (status, slug)


@pytest.mark.usefixtures("demand")
def test_another_workspace_sees_nothing(client: TestClient, make_key: MakeKey) -> None:
    stranger = bearer(make_key(workspace_name="other"))
    assert client.get(PATH, headers=stranger).json()["data"] == []
    for method, path, body in (
        ("GET", "/demand", None),
        ("GET", "/demand/versions/1", None),
        ("GET", "/demand/versions/1/files/manifest.json", None),
        ("PUT", "/demand/aliases/production", {"version": 1}),
        ("POST", "/demand/rollback", {}),
        ("DELETE", "/demand", None),
    ):
        response = client.request(method, PATH + path, json=body, headers=stranger)
        assert response.status_code == 404, path


@pytest.mark.usefixtures("demand")
def test_writing_needs_its_scope(client: TestClient, make_key: MakeKey) -> None:
    reader = bearer(make_key([Scope.MODELS_READ]))
    assert client.get(f"{PATH}/demand", headers=reader).status_code == 200
    for method, path, body in (
        ("PUT", "/demand/aliases/production", {"version": 1}),
        ("DELETE", "/demand/aliases/production", None),
        ("POST", "/demand/rollback", {}),
        ("DELETE", "/demand", None),
    ):
        response = client.request(method, PATH + path, json=body, headers=reader)
        assert (response.status_code, problem(response)) == (403, "forbidden")


@pytest.mark.usefixtures("demand")
def test_a_name_belongs_to_one_task(database: Database, workspace: Workspace) -> None:
    with database.transaction() as db:
        store.require_task(db, workspace.id, "demand", FORECASTING)
        store.require_task(db, workspace.id, "other", GENERATION)
        with pytest.raises(ModelTaskMismatchError):
            store.require_task(db, workspace.id, "demand", GENERATION)


@pytest.mark.usefixtures("demand")
def test_a_version_of_another_task_is_not_registered(
    publish_version: Publish, database: Database
) -> None:
    with pytest.raises(ModelTaskMismatchError):
        publish_version("demand", GENERATION)
    with database.transaction() as db:
        (model,) = db.scalars(select(Model)).all()
        assert model.task == FORECASTING
