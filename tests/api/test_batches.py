"""`/batches` over HTTP: what is taken, refused and shown, while nothing works on it."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from service.auth.subjects import ALL_SCOPES, Scope
from service.batches import submission
from service.datasets.aliases import find_dataset
from service.db.engine import Database
from service.db.tables import Job, Model
from service.jobs.states import JobState
from tests.api.conftest import MakeKey, bearer, problem
from tests.api.job_requests import CORPUS, REVIEWS, SERIES, submit, upload

MODELS = {"forecast": "demand", "label": "reviews", "write": "verses"}
FILES = {
    "forecast": ("series.csv", SERIES),
    "label": ("reviews.csv", REVIEWS),
    "write": ("corpus.txt", CORPUS),
}


@pytest.fixture
def datasets(client: TestClient, headers: dict[str, str], models: dict[str, str]) -> dict[str, str]:
    """A data set for each model that is published."""
    return {name: upload(client, headers, *file) for name, file in FILES.items()}


def post(client: TestClient, headers: dict[str, str], dataset: str, model: str, **body: Any) -> Any:
    return client.post(
        "/api/v1/batches", json={"model": model, "dataset": dataset, **body}, headers=headers
    )


def batch(
    client: TestClient, headers: dict[str, str], datasets: dict[str, str], what: str, **body: Any
) -> dict[str, Any]:
    answer = post(client, headers, datasets[what], MODELS[what], **body)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_batch_is_queued(
    client: TestClient, headers: dict[str, str], datasets: dict[str, str]
) -> None:
    answer = post(client, headers, datasets["forecast"], "demand", metadata={"for": "me"})
    assert answer.status_code == 202
    found = answer.json()
    assert answer.headers["location"] == f"/api/v1/batches/{found['id']}"
    assert found["state"] == "queued"
    assert found["task"] == "time-series-forecasting"
    assert (found["model"]["name"], found["model"]["version"]) == ("demand", 1)
    assert (found["result"], found["metadata"]) == (None, {"for": "me"})
    assert found["progress"] == {
        "fraction": 0.0,
        "rows": 0,
        "total_rows": None,
        "failed_rows": 0,
        "rows_per_second": None,
    }
    assert found["config"] == {
        "task": "time-series-forecasting",
        "name": "series.csv by demand:1",
        "horizon": 12,
        "quantiles": [0.1, 0.5, 0.9],
        "data": {
            "target_column": "value",
            "target_columns": None,
            "time_column": "time",
            "series_column": None,
        },
    }
    seen = client.get(f"/api/v1/batches/{found['id']}", headers=headers).json()
    assert seen == {**found, "starts_in_seconds": seen["starts_in_seconds"]}


def test_nothing_is_left_open(
    client: TestClient, headers: dict[str, str], datasets: dict[str, str]
) -> None:
    labels = batch(client, headers, datasets, "label", name="mine")["config"]
    assert (labels["name"], labels["data"]) == ("mine", {"text_column": "text"})
    texts = batch(client, headers, datasets, "write", temperature=0.5)["config"]
    assert (texts["max_new_tokens"], texts["temperature"]) == (128, 0.5)
    assert texts["seed"] >= 0
    assert texts["data"] == {"text_column": None}


def test_the_version_is_that_of_the_moment(
    client: TestClient, headers: dict[str, str], datasets: dict[str, str]
) -> None:
    answer = post(client, headers, datasets["label"], "reviews:1")
    assert answer.json()["model"]["version"] == 1
    assert problem(post(client, headers, datasets["label"], "reviews:2")) == "not-found"


def test_the_same_request_twice_is_one_batch(
    client: TestClient, headers: dict[str, str], datasets: dict[str, str]
) -> None:
    headers = {**headers, "Idempotency-Key": "once"}
    first = post(client, headers, datasets["label"], "reviews")
    again = post(client, headers, datasets["label"], "reviews")
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert len(client.get("/api/v1/batches", headers=headers).json()["data"]) == 1


def test_batches_and_trainings_are_lists_of_their_own(
    client: TestClient, headers: dict[str, str], datasets: dict[str, str]
) -> None:
    training = submit(client, headers, datasets["forecast"])["id"]
    batches = [batch(client, headers, datasets, what)["id"] for what in FILES]

    def ids(path: str) -> list[str]:
        answer = client.get(f"/api/v1{path}", headers=headers)
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["data"]]

    trainings = ids("/jobs")
    assert training in trainings
    assert not {*batches} & {*trainings}
    assert ids("/jobs?kind=prediction") == ids("/batches") == batches[::-1]
    assert ids("/batches?task=text-generation") == batches[2:]
    assert ids("/batches?state=running") == []
    assert ids(f"/batches?limit=1&after={batches[2]}") == [batches[1]]
    shown = client.get(f"/api/v1/jobs/{batches[0]}", headers=headers).json()
    assert (shown["kind"], shown["base_model"]["version"]) == ("prediction", 1)
    events = client.get(f"/api/v1/jobs/{batches[0]}/events", headers=headers).json()["data"]
    assert [event["data"]["reason"] for event in events] == ["submitted"]


def test_a_training_is_no_batch(
    client: TestClient, headers: dict[str, str], datasets: dict[str, str]
) -> None:
    training = submit(client, headers, datasets["forecast"])["id"]
    for method, path in [("GET", ""), *(("POST", f"/{do}") for do in ACTIONS)]:
        answer = client.request(method, f"/api/v1/batches/{training}{path}", headers=headers)
        assert problem(answer) == "not-found"
    assert client.get(f"/api/v1/jobs/{training}", headers=headers).json()["state"] == "queued"


ACTIONS = ("cancel", "pause", "resume", "retry")


def test_a_batch_is_paused_resumed_cancelled_and_tried_again(
    client: TestClient, headers: dict[str, str], datasets: dict[str, str]
) -> None:
    path = f"/api/v1/batches/{batch(client, headers, datasets, 'label')['id']}"

    def act(action: str) -> dict[str, Any]:
        answer = client.post(f"{path}/{action}", headers=headers)
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    assert act("pause")["hold"] == "paused"
    assert act("resume")["hold"] is None
    assert act("cancel")["state"] == "cancelled"
    assert problem(client.post(f"{path}/pause", headers=headers)) == "conflict"
    assert act("retry")["state"] == "queued"


def test_what_a_batch_needs_is_not_deleted(
    client: TestClient, headers: dict[str, str], datasets: dict[str, str], database: Database
) -> None:
    found = batch(client, headers, datasets, "label")
    model, dataset = "/api/v1/models/reviews", f"/api/v1/datasets/{datasets['label']}"
    for path in (model, dataset):
        answer = client.delete(path, headers=headers)
        assert problem(answer) == "conflict"
        assert found["id"] in answer.json()["detail"]
    with database.transaction() as db:
        db.execute(update(Job).where(Job.id == found["id"]).values(state=JobState.FAILED))
    assert client.delete(model, headers=headers).status_code == 204
    retry = client.post(f"/api/v1/batches/{found['id']}/retry", headers=headers)
    assert problem(retry) == "conflict"
    assert "reviews:1" in retry.json()["detail"]
    # A model that only a batch still knows was trained once: nobody is to wait for it.
    assert problem(post(client, headers, datasets["label"], "reviews")) == "not-found"


BAD_INPUTS: list[tuple[str, dict[str, Any], str, list[str]]] = [
    ("label", {"horizon": 3}, "validation-error", ["body.horizon"]),
    (
        "label",
        {"data": {"series_column": "a"}},
        "validation-error",
        ["body.data.series_column"],
    ),
    (
        "forecast",
        {"max_new_tokens": 3, "seed": 1},
        "validation-error",
        ["body.max_new_tokens", "body.seed"],
    ),
    ("write", {"all_scores": True}, "validation-error", ["body.all_scores"]),
    ("forecast", {"horizon": 13}, "model-input-mismatch", ["body.horizon"]),
    ("forecast", {"horizon": 0}, "validation-error", ["body.horizon"]),
    ("forecast", {"quantiles": [0.5, 0.01]}, "validation-error", ["body.quantiles"]),
    ("forecast", {"quantiles": [0.001]}, "model-input-mismatch", ["body.quantiles.0"]),
    (
        "forecast",
        {"data": {"target_column": "nothing"}},
        "validation-error",
        ["body.data.target_column"],
    ),
    (
        "label",
        {"data": {"text_column": "nothing"}},
        "validation-error",
        ["body.data.text_column"],
    ),
    ("write", {"data": {"text_column": "text"}}, "validation-error", ["body.data.text_column"]),
    ("write", {"max_new_tokens": 8_193}, "validation-error", ["body.max_new_tokens"]),
    ("write", {"temperature": -1}, "validation-error", ["body.temperature"]),
    ("write", {"seed": 2**53}, "validation-error", ["body.seed"]),
    ("label", {"name": " "}, "validation-error", ["body.name"]),
    ("label", {"name": "x" * 201}, "validation-error", ["body.name"]),
    ("label", {"texts": ["a"]}, "validation-error", ["body.texts"]),
    (
        "label",
        {"data": {"label_column": "label"}},
        "validation-error",
        ["body.data.label_column"],
    ),
    ("label", {"device": "tpu"}, "validation-error", ["body.device"]),
    ("label", {"deadline": "2020-01-01T00:00:00Z"}, "validation-error", ["body.deadline"]),
    ("label", {"after": [str(uuid4())]}, "validation-error", ["body.after.0"]),
    ("label", {"model": "no model"}, "validation-error", ["body.model"]),
    ("label", {"model": "nobody"}, "not-found", []),
    ("label", {"model": "reviews@canary"}, "not-found", []),
    ("label", {"dataset": str(uuid4())}, "not-found", []),
]


def test_bad_inputs(client: TestClient, headers: dict[str, str], datasets: dict[str, str]) -> None:
    for what, body, kind, places in BAD_INPUTS:
        whole = {"model": MODELS[what], "dataset": datasets[what], **body}
        answer = client.post("/api/v1/batches", json=whole, headers=headers)
        found = [fault["location"] for fault in answer.json().get("errors", [])]
        assert (problem(answer), found) == (kind, places), body
    assert client.get("/api/v1/batches", headers=headers).json()["data"] == []


def test_a_data_set_of_another_kind(
    client: TestClient, headers: dict[str, str], datasets: dict[str, str]
) -> None:
    answer = post(client, headers, datasets["write"], "demand")
    assert problem(answer) == "validation-error"
    assert answer.json()["errors"][0]["location"] == "body.data.target_column"


def test_another_workspace_sees_nothing(
    client: TestClient, headers: dict[str, str], datasets: dict[str, str], make_key: MakeKey
) -> None:
    path = f"/api/v1/batches/{batch(client, headers, datasets, 'label')['id']}"
    stranger = bearer(make_key(workspace_name="another"))
    assert problem(client.get(path, headers=stranger)) == "not-found"
    assert problem(client.post(f"{path}/cancel", headers=stranger)) == "not-found"
    assert client.get("/api/v1/batches", headers=stranger).json()["data"] == []
    assert problem(post(client, stranger, datasets["label"], "reviews")) == "not-found"


@pytest.mark.parametrize("missing", [Scope.JOBS_WRITE, Scope.PREDICT])
def test_scopes(
    client: TestClient, datasets: dict[str, str], make_key: MakeKey, missing: Scope
) -> None:
    key = bearer(make_key(ALL_SCOPES - {missing}))
    assert problem(post(client, key, datasets["label"], "reviews")) == "forbidden"


def test_a_high_priority_is_not_for_everybody(
    client: TestClient, datasets: dict[str, str], make_key: MakeKey
) -> None:
    key = bearer(make_key(ALL_SCOPES - {Scope.KEYS_ADMIN}))
    assert problem(post(client, key, datasets["label"], "reviews", priority=1)) == "forbidden"
    assert post(client, key, datasets["label"], "reviews", priority=-1).status_code == 202


def test_a_batch_waits_for_a_training(
    client: TestClient, headers: dict[str, str], datasets: dict[str, str]
) -> None:
    training = submit(client, headers, datasets["forecast"])["id"]
    found = batch(client, headers, datasets, "forecast", after=[training])
    assert (found["hold"], found["after"]) == ("after", [training])


def test_models_that_are_not_ready_are_those_of_trainings(
    client: TestClient, headers: dict[str, str], datasets: dict[str, str], database: Database
) -> None:
    submit(client, headers, datasets["forecast"], model="soon")
    assert problem(post(client, headers, datasets["forecast"], "soon")) == "model-not-ready"
    with database.transaction() as db:
        assert db.scalar(select(Model.id).where(Model.name == "soon")) is None


def test_a_model_that_is_deleted_meanwhile(
    client: TestClient,
    headers: dict[str, str],
    datasets: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def delete(*arguments: Any) -> Any:
        answer = client.delete("/api/v1/models/reviews", headers=headers)
        assert answer.status_code == 204
        return find_dataset(*arguments)

    monkeypatch.setattr(submission, "find_dataset", delete)  # after the version was found
    answer = post(client, headers, datasets["label"], "reviews")
    assert problem(answer) == "not-found"
    assert "was deleted just now" in answer.json()["detail"]
    assert client.get("/api/v1/batches", headers=headers).json()["data"] == []
