"""Jobs that start from an existing version: what they take over, record and refuse."""

from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from service.db.engine import Database
from service.db.tables import ModelVersion
from service.jobs import endings
from service.jobs.endings import Trained
from tests.api.conftest import problem
from tests.api.job_requests import (
    CLASSIFICATION,
    CORPUS,
    FORECASTING,
    GENERATION,
    REVIEWS,
    SERIES,
    submit,
    upload,
)
from tests.job_records import take

DATA = {
    FORECASTING: ("series.csv", SERIES),
    CLASSIFICATION: ("reviews.csv", REVIEWS),
    GENERATION: ("corpus.txt", CORPUS),
}
Ask = dict[str, Any]


def refused(client: TestClient, headers: dict[str, str], **body: Any) -> Ask:
    """The problem document of a job for what the data set of its task holds."""
    dataset = upload(client, headers, *DATA[body["task"]])
    response = client.post("/api/v1/jobs", json={"dataset": dataset, **body}, headers=headers)
    document: Ask = response.json()
    document["kind"] = problem(response)
    return document


@pytest.mark.parametrize(
    ("task", "base", "number"),
    [
        (FORECASTING, "demand", 1),
        (CLASSIFICATION, "reviews:1", 1),
        (GENERATION, "verses@production", 1),
    ],
)
def test_a_version_of_the_same_task(
    client: TestClient,
    headers: dict[str, str],
    models: dict[str, str],
    task: str,
    base: str,
    number: int,
) -> None:
    dataset = upload(client, headers, *DATA[task])
    job = submit(client, headers, dataset, task=task, base_model=base)
    name = models[task]
    lineage = client.get(f"/api/v1/models/{name}/versions/1", headers=headers).json()
    assert job["base_model"] == {
        "name": name,
        "version": number,
        "sha256": lineage["artifact_sha256"],
    }
    assert job["config"]["architecture"] == lineage["config"]["architecture"]
    assert lineage["base_model"] is None


def test_a_classifier_starts_from_a_language_model(
    client: TestClient, headers: dict[str, str], models: dict[str, str]
) -> None:
    dataset = upload(client, headers, *DATA[CLASSIFICATION])
    body = {"task": CLASSIFICATION, "base_model": "verses", "model": "tuned"}
    job = submit(client, headers, dataset, **body, architecture={"pooling": "max"})
    base = client.get("/api/v1/models/verses/versions/1", headers=headers).json()["config"]
    for name in ("cell", "hidden_size", "num_layers", "embedding_size"):
        assert job["config"]["architecture"][name] == base["architecture"][name]
    assert job["config"]["architecture"]["bidirectional"] is False
    assert job["config"]["architecture"]["pooling"] == "max"


def test_the_version_records_what_it_came_from(
    client: TestClient, headers: dict[str, str], models: dict[str, str], database: Database
) -> None:
    """Also once that is deleted: a name and a digest remain."""
    dataset = upload(client, headers, *DATA[CLASSIFICATION])
    body = {"task": CLASSIFICATION, "base_model": "verses", "model": "tuned"}
    submitted = submit(client, headers, dataset, **body)
    with database.transaction() as db:
        attempt = take(db).attempt
        endings.finish(db, attempt, Trained("jobs/x", "f" * 64, {}, 1, {}), code_version="test")
        stored = db.scalars(select(ModelVersion).where(ModelVersion.artifact_path == "jobs/x"))
        assert stored.one().base is not None
    assert client.delete("/api/v1/models/verses", headers=headers).status_code == 204
    page = client.get("/api/v1/models/tuned/versions", headers=headers).json()
    assert page["data"][0]["base_model"] == submitted["base_model"]
    job = client.get(f"/api/v1/jobs/{submitted['id']}", headers=headers).json()
    assert job["base_model"] == submitted["base_model"]


@pytest.mark.parametrize("base", ["", "No Name", "a:0", "a@", "a b", "../x", "a" * 300])
def test_what_names_no_model(client: TestClient, headers: dict[str, str], base: str) -> None:
    document = refused(client, headers, task=GENERATION, base_model=base)
    assert (document["status"], document["kind"]) == (422, "validation-error")
    assert document["errors"][0]["location"] == "body.base_model"


@pytest.mark.parametrize("base", ["nobody", "verses:2", "verses@canary"])
def test_what_is_not_there(
    client: TestClient, headers: dict[str, str], models: dict[str, str], base: str
) -> None:
    document = refused(client, headers, task=GENERATION, base_model=base)
    assert (document["status"], document["kind"]) == (404, "not-found")


def test_another_workspaces_model_is_not_there(
    client: TestClient, headers: dict[str, str], models: dict[str, str], make_key: Any
) -> None:
    stranger = {"Authorization": f"Bearer {make_key(workspace_name='other')}"}
    document = refused(client, stranger, task=GENERATION, base_model="verses")
    assert (document["status"], document["kind"]) == (404, "not-found")


def test_a_model_that_is_still_trained(client: TestClient, headers: dict[str, str]) -> None:
    dataset = upload(client, headers, *DATA[GENERATION])
    submit(client, headers, dataset, task=GENERATION, model="draft")
    document = refused(client, headers, task=GENERATION, base_model="draft")
    assert (document["status"], document["kind"]) == (409, "model-not-ready")


@pytest.mark.parametrize(
    ("task", "base"),
    [(FORECASTING, "verses"), (GENERATION, "reviews"), (CLASSIFICATION, "demand")],
)
def test_another_tasks_model(
    client: TestClient, headers: dict[str, str], models: dict[str, str], task: str, base: str
) -> None:
    document = refused(client, headers, task=task, base_model=base)
    assert (document["status"], document["kind"]) == (409, "model-task-mismatch")
    assert task in document["detail"]


@pytest.mark.parametrize(
    ("task", "base", "part", "name", "value"),
    [
        (GENERATION, "verses", "architecture", "hidden_size", 7),
        (CLASSIFICATION, "reviews", "architecture", "pooling", "last"),
        (CLASSIFICATION, "verses", "architecture", "bidirectional", True),
        (CLASSIFICATION, "verses", "data", "vocabulary_size", 500),
        (CLASSIFICATION, "verses", "data", "tokenizer", "character"),
        (FORECASTING, "demand", "data", "horizon", 3),
    ],
)
def test_a_choice_that_contradicts_the_base_is_named(
    client: TestClient,
    headers: dict[str, str],
    models: dict[str, str],
    task: str,
    base: str,
    part: str,
    name: str,
    value: object,
) -> None:
    document = refused(client, headers, task=task, base_model=base, **{part: {name: value}})
    assert (document["status"], document["kind"]) == (422, "validation-error")
    assert document["errors"][0]["location"] == f"body.{part}.{name}"
    assert name in document["detail"]
