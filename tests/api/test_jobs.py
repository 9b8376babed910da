"""`/api/v1/jobs`, with jobs that nobody works on: the test itself plays the worker."""

import json
from collections.abc import Iterator
from typing import Any, get_args
from uuid import uuid4

import pytest
import redis
from pydantic import SecretStr
from starlette.testclient import TestClient

from rnn.config import CellName
from service.artifacts.store import ArtifactStore
from service.auth.subjects import ALL_SCOPES, Scope
from service.db.engine import Database
from service.jobs import endings
from service.jobs.endings import Trained
from service.jobs.logs import log_path
from service.jobs.progress import record_checkpoint, record_progress
from service.jobs.transitions import Attempt, NewEvent
from service.settings import Settings
from tests.api.conftest import MakeApp, MakeKey, bearer, problem
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


@pytest.fixture
def series(client: TestClient, headers: dict[str, str]) -> str:
    return upload(client, headers, "Hourly Demand.csv", SERIES)


def claimed(database: Database) -> Attempt:
    with database.transaction() as db:
        return take(db).attempt


# Submission


def test_task_and_dataset_are_enough(
    client: TestClient, headers: dict[str, str], series: str, redis_url: str
) -> None:
    response = client.post(
        "/api/v1/jobs", json={"task": FORECASTING, "dataset": series}, headers=headers
    )
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/api/v1/jobs/{job['id']}"
    assert job["state"] == "queued"
    assert job["queue_position"] == 1
    assert job["model"] == "hourly-demand"
    assert job["dataset"] == series
    data = job["config"]["data"]
    assert (data["target_column"], data["time_column"]) == ("value", "time")
    assert None not in (data["horizon"], data["context_length"], data["season_length"])
    assert client.get(response.headers["location"], headers=headers).json() == job
    with redis.Redis.from_url(redis_url) as broker:
        assert broker.llen("reprise.cpu") == 1


@pytest.mark.parametrize(
    ("task", "name", "content"),
    [(CLASSIFICATION, "reviews.csv", REVIEWS), (GENERATION, "corpus.txt", CORPUS)],
)
def test_the_other_tasks(
    client: TestClient, headers: dict[str, str], task: str, name: str, content: str
) -> None:
    dataset = upload(client, headers, name, content)
    assert submit(client, headers, dataset, task=task)["config"]["task"] == task


def test_every_choice_spelled_out(client: TestClient, headers: dict[str, str], series: str) -> None:
    body = {
        "model": "demand-2",
        "device": "cpu",
        "priority": -3,
        "metadata": {"team": "north"},
        "architecture": {"cell": "gru", "num_layers": 1, "hidden_size": 8},
        "training": {"max_steps": 10, "learning_rate": 0.01, "seed": 7},
        "data": {"horizon": 4, "context_length": 8, "target_column": "value"},
    }
    job = submit(client, headers, series, **body)
    for name in ("model", "device", "priority", "metadata"):
        assert job[name] == body[name]
    for part in ("architecture", "training", "data"):
        chosen: Any = body[part]
        assert chosen.items() <= job["config"][part].items()


def test_a_preset_is_taken(client: TestClient, headers: dict[str, str], series: str) -> None:
    base, small = (
        submit(client, headers, series, **chosen)["config"] for chosen in ({}, {"preset": "small"})
    )
    assert (base["preset"], small["preset"]) == ("base", "small")
    assert small["architecture"]["hidden_size"] < base["architecture"]["hidden_size"]


@pytest.mark.parametrize("cell", get_args(CellName))
def test_every_cell_can_be_chosen(
    client: TestClient, headers: dict[str, str], series: str, cell: str
) -> None:
    job = submit(client, headers, series, architecture={"cell": cell})
    assert job["config"]["architecture"]["cell"] == cell


def test_a_name_taken_for_another_task(client: TestClient, headers: dict[str, str]) -> None:
    """Chosen by the caller: a conflict. Made of the data set's name: another one is made."""
    dataset = upload(client, headers, "reviews.csv", REVIEWS)
    assert submit(client, headers, dataset, task=CLASSIFICATION)["model"] == "reviews"
    other = submit(client, headers, dataset, task=GENERATION)
    assert other["model"] == "reviews-text-generation"
    body = {"task": GENERATION, "dataset": dataset, "model": "reviews"}
    response = client.post("/api/v1/jobs", json=body, headers=headers)
    assert (response.status_code, problem(response)) == (409, "model-task-mismatch")


def test_a_data_set_of_another_kind(
    client: TestClient, headers: dict[str, str], series: str
) -> None:
    body = {"task": CLASSIFICATION, "dataset": series}
    response = client.post("/api/v1/jobs", json=body, headers=headers)
    assert (response.status_code, problem(response)) == (422, "validation-error")
    assert "cannot be used for text-classification" in response.json()["detail"]
    assert FORECASTING in response.json()["detail"]


def test_columns_that_the_caller_names(client: TestClient, headers: dict[str, str]) -> None:
    """What is derived from the data follows the named columns, not the ones that were found."""
    rows = [f"2024-01-{1 + i // 24:02d}T{i % 24:02d}:00:00Z,{i % 24},{i % 7}" for i in range(240)]
    two = upload(client, headers, "two.csv", "\n".join(["time,load,wind", *rows]) + "\n")
    open_target = client.post(
        "/api/v1/jobs", json={"task": FORECASTING, "dataset": two}, headers=headers
    )
    assert open_target.status_code == 422
    assert "load, wind" in open_target.text
    named = submit(client, headers, two, data={"target_column": "wind"})
    data = named["config"]["data"]
    assert (data["target_column"], data["time_column"]) == ("wind", "time")
    assert data["season_length"] == 24

    halves = [f"{i},{'ab'[i % 2]},{i % 12}" for i in range(240)]
    table = upload(client, headers, "halves.csv", "\n".join(["step,place,value", *halves]) + "\n")
    too_long = client.post(
        "/api/v1/jobs",
        json={
            "task": FORECASTING,
            "dataset": table,
            "data": {"series_column": "place", "context_length": 100, "horizon": 50},
        },
        headers=headers,
    )
    assert too_long.status_code == 422
    assert "the shortest series has: 120" in too_long.text


@pytest.mark.parametrize("dataset", ["0199e2a4-5b1c-7d3e-8f60-1a2b3c4d5e6f", "other tenant's"])
def test_a_data_set_that_is_not_here(
    client: TestClient, headers: dict[str, str], make_key: MakeKey, dataset: str
) -> None:
    """bad_inputs jobs-19."""
    if dataset == "other tenant's":
        stranger = bearer(make_key(workspace_name="other"))
        dataset = upload(client, stranger, "series.csv", SERIES)
    response = client.post(
        "/api/v1/jobs", json={"task": FORECASTING, "dataset": dataset}, headers=headers
    )
    assert (response.status_code, problem(response)) == (404, "not-found")


def test_priority_is_for_administrators(
    client: TestClient, headers: dict[str, str], make_key: MakeKey, series: str
) -> None:
    """bad_inputs jobs-27."""
    plain = bearer(make_key(ALL_SCOPES - {Scope.KEYS_ADMIN}))
    body = {"task": FORECASTING, "dataset": series, "priority": 10**6}
    response = client.post("/api/v1/jobs", json=body, headers=plain)
    assert (response.status_code, problem(response)) == (403, "forbidden")
    assert submit(client, plain, series, priority=0)["priority"] == 0
    assert submit(client, headers, series, priority=10**6)["queue_position"] == 1


def test_limits_of_the_server(
    make_app: MakeApp, headers: dict[str, str], client: TestClient, series: str
) -> None:
    """bad_inputs jobs-34, and a network beyond `max_parameters`."""
    app = make_app(max_queued_jobs=1, max_parameters=30_000)
    with TestClient(app, base_url="http://localhost") as small:
        large = {"task": FORECASTING, "dataset": series, "architecture": {"hidden_size": 512}}
        response = small.post("/api/v1/jobs", json=large, headers=headers)
        assert (response.status_code, problem(response)) == (422, "validation-error")
        assert response.json()["errors"][0]["location"] == "body.architecture"
        assert "30,000 are allowed" in response.json()["errors"][0]["message"]
        little = {"hidden_size": 4}
        submit(small, headers, series, architecture=little)
        response = small.post(
            "/api/v1/jobs",
            json={"task": FORECASTING, "dataset": series, "architecture": little},
            headers=headers,
        )
        assert (response.status_code, problem(response)) == (429, "quota-exceeded")
        assert int(response.headers["retry-after"]) > 0


def test_without_redis_it_is_queued_all_the_same(
    make_app: MakeApp, client: TestClient, headers: dict[str, str], series: str
) -> None:
    """bad_inputs jobs-32."""
    app = make_app(redis_url=SecretStr("redis://127.0.0.1:1/0"))
    with TestClient(app, base_url="http://localhost") as lonely:
        assert submit(lonely, headers, series)["state"] == "queued"


def test_repeated_with_an_idempotency_key_it_is_one_job(
    client: TestClient, headers: dict[str, str], series: str
) -> None:
    keyed = {**headers, "Idempotency-Key": "once"}
    first, second = (submit(client, keyed, series) for _ in range(2))
    assert first == second
    assert len(client.get("/api/v1/jobs", headers=headers).json()["data"]) == 1


# Reading


def test_list(client: TestClient, headers: dict[str, str], make_key: MakeKey, series: str) -> None:
    ids = [submit(client, headers, series)["id"] for _ in range(3)]
    client.post(f"/api/v1/jobs/{ids[1]}/cancel", headers=headers)

    def listed(query: str, who: dict[str, str] = headers) -> tuple[list[str], bool]:
        body = client.get(f"/api/v1/jobs?{query}", headers=who).json()
        return [job["id"] for job in body["data"]], body["has_more"]

    assert listed("") == (ids[::-1], False)
    assert listed("limit=2") == (ids[:0:-1], True)
    assert listed(f"after={ids[1]}") == (ids[:1], False)
    assert listed("state=cancelled") == ([ids[1]], False)
    assert listed(f"task={GENERATION}") == ([], False)
    assert listed("", bearer(make_key(workspace_name="other"))) == ([], False)


@pytest.mark.parametrize("path", ["", "/events", "/metrics", "/checkpoints", "/logs", "/cancel"])
def test_a_job_of_another_workspace_is_not_found(
    client: TestClient, headers: dict[str, str], make_key: MakeKey, series: str, path: str
) -> None:
    job_id = submit(client, headers, series)["id"]
    stranger = bearer(make_key(workspace_name="other"))
    method = "POST" if path == "/cancel" else "GET"
    for who, job in ((stranger, job_id), (headers, uuid4())):
        response = client.request(method, f"/api/v1/jobs/{job}{path}", headers=who)
        assert (response.status_code, problem(response)) == (404, "not-found")


def test_a_running_job_shows_how_far_it_is(
    client: TestClient, headers: dict[str, str], series: str, database: Database
) -> None:
    job_id = submit(client, headers, series)["id"]
    attempt = claimed(database)
    with database.transaction() as db:
        record_progress(
            db,
            attempt,
            progress={"step": 25, "total_steps": 100, "epoch": 0.5, "steps_per_second": 5.0},
            metrics={"mase": 0.9},
            events=[],
        )
    job = client.get(f"/api/v1/jobs/{job_id}", headers=headers).json()
    assert job["state"] == "running"
    assert job["progress"] == {"fraction": 0.25, "step": 25, "total_steps": 100, "epoch": 0.5}
    assert job["eta_seconds"] == 15.0
    assert job["queue_position"] is None
    assert job["metrics"] == {"mase": 0.9}


def test_a_finished_job_shows_its_version(
    client: TestClient, headers: dict[str, str], series: str, database: Database
) -> None:
    job_id = submit(client, headers, series)["id"]
    finish(database, claimed(database))
    job = client.get(f"/api/v1/jobs/{job_id}", headers=headers).json()
    assert (job["state"], job["version"], job["progress"]["fraction"]) == ("succeeded", 1, 1.0)


def test_metrics_checkpoints_and_logs(
    client: TestClient,
    headers: dict[str, str],
    series: str,
    database: Database,
    settings: Settings,
) -> None:
    path = f"/api/v1/jobs/{submit(client, headers, series)['id']}"
    assert client.get(f"{path}/logs", headers=headers).status_code == 404  # no attempt yet
    attempt = claimed(database)
    with database.transaction() as db:
        events = [NewEvent("metrics", {"kind": "step", "step": step}) for step in range(5)]
        record_progress(db, attempt, progress={}, metrics=None, events=events)
        for step in (10, 20, 30):
            record_checkpoint(db, attempt, step=step, path=f"x/{step}", sha256="c" * 64)
    found = client.get(f"{path}/metrics?limit=2", headers=headers).json()
    assert ([e["data"]["step"] for e in found["data"]], found["has_more"]) == ([0, 1], True)
    seq = found["data"][-1]["seq"]
    found = client.get(f"{path}/metrics?after={seq}", headers=headers).json()
    assert ([e["data"]["step"] for e in found["data"]], found["has_more"]) == ([2, 3, 4], False)
    kept = client.get(f"{path}/checkpoints", headers=headers).json()["data"]
    assert [checkpoint["step"] for checkpoint in kept] == [30, 20]

    log = log_path(ArtifactStore(settings.artifact_dir), attempt.job_id, 1)
    log.parent.mkdir(parents=True)
    log.write_text("first line\nlast line\n")
    answer = client.get(f"{path}/logs", headers=headers).json()
    assert answer == {"attempt": 1, "text": "first line\nlast line\n", "truncated": False}
    answer = client.get(f"{path}/logs?max_bytes=5", headers=headers).json()
    assert (answer["text"], answer["truncated"]) == ("line\n", True)
    assert client.get(f"{path}/logs?attempt=2", headers=headers).status_code == 404


# Cancel


def test_cancel(
    client: TestClient, headers: dict[str, str], series: str, database: Database
) -> None:
    """bad_inputs jobs-35: queued at once, running on request, twice the same, finished never."""

    def cancel(job_id: str) -> tuple[int, Any]:
        response = client.post(f"/api/v1/jobs/{job_id}/cancel", headers=headers)
        return response.status_code, response.json().get("state")

    queued = submit(client, headers, series)["id"]
    assert cancel(queued) == cancel(queued) == (202, "cancelled")
    running = submit(client, headers, series)["id"]
    attempt = claimed(database)
    assert cancel(running) == cancel(running) == (202, "running")
    assert client.get(f"/api/v1/jobs/{running}", headers=headers).json()["cancel_requested"]
    with database.transaction() as db:
        record_checkpoint(db, attempt, step=1, path="x/1", sha256="c" * 64)
        endings.release(db, attempt)
    assert cancel(running) == (202, "cancelled")
    kept = client.get(f"/api/v1/jobs/{running}/checkpoints", headers=headers).json()
    assert kept["data"] == []
    finished = submit(client, headers, series)["id"]
    finish(database, claimed(database))
    response = client.post(f"/api/v1/jobs/{finished}/cancel", headers=headers)
    assert (response.status_code, problem(response)) == (409, "conflict")


# Events


def test_events_as_json(
    client: TestClient, headers: dict[str, str], series: str, database: Database
) -> None:
    path = f"/api/v1/jobs/{submit(client, headers, series)['id']}/events"
    finish(database, claimed(database))
    everything = client.get(path, headers=headers).json()
    assert [event["seq"] for event in everything["data"]] == [1, 2, 3]
    assert [event["data"]["to"] for event in everything["data"]] == [
        "queued",
        "running",
        "succeeded",
    ]
    page = client.get(f"{path}?after=1&limit=1", headers=headers).json()
    assert ([event["seq"] for event in page["data"]], page["has_more"]) == ([2], True)


def test_events_as_a_stream_end_with_the_job(
    client: TestClient, headers: dict[str, str], series: str, database: Database
) -> None:
    path = f"/api/v1/jobs/{submit(client, headers, series)['id']}/events"
    finish(database, claimed(database))
    streaming = {**headers, "Accept": "text/event-stream"}
    response = client.get(path, headers=streaming)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert [event["id"] for event in parse(response.text)] == ["1", "2", "3"]
    last = json.loads(list(parse(response.text))[-1]["data"])
    assert last["data"]["to"] == "succeeded"
    resumed = client.get(path, headers={**streaming, "Last-Event-ID": "2"})
    assert [event["id"] for event in parse(resumed.text)] == ["3"]
    assert client.get(path, headers={**streaming, "Last-Event-ID": "3"}).status_code == 204


def test_an_alert_is_an_event_and_stays_with_the_job_while_it_holds(
    client: TestClient, headers: dict[str, str], series: str, database: Database
) -> None:
    path = f"/api/v1/jobs/{submit(client, headers, series)['id']}"
    assert client.get(path, headers=headers).json()["alerts"] == []
    alert = {
        "at": "2026-01-01T00:00:00Z",
        "step": 400,
        "kind": "vanishing",
        "layer": 2,
        "message": "layer 2: little is left",
        "remedy": "a gated cell",
    }
    look = {"kind": "diagnostics", "at": alert["at"], "step": 400, "layers": []}
    attempt = claimed(database)
    events = [NewEvent("metrics", look), NewEvent("alert", alert)]
    with database.transaction() as db:
        record_progress(
            db, attempt, progress={"step": 400, "alerts": [alert]}, metrics=None, events=events
        )
    assert client.get(path, headers=headers).json()["alerts"] == [alert]
    last = client.get(f"{path}/events?after=2", headers=headers).json()["data"]
    assert [(event["type"], event["data"]) for event in last] == [
        ("metrics", look),
        ("alert", alert),
    ]
    measured = client.get(f"{path}/metrics", headers=headers).json()["data"]
    assert [event["data"]["kind"] for event in measured] == ["diagnostics"]
    finish(database, attempt)
    streaming = {**headers, "Accept": "text/event-stream"}
    stream = client.get(f"{path}/events", headers=streaming).text
    assert [event["event"] for event in parse(stream)].count("alert") == 1


def finish(database: Database, attempt: Attempt) -> None:
    with database.transaction() as db:
        trained = Trained(f"jobs/{attempt.job_id}/model", "a" * 64, {"mase": 0.5}, 9, {})
        endings.finish(db, attempt, trained, code_version="test")


def parse(stream: str) -> Iterator[dict[str, str]]:
    for block in stream.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")
        )
        if "id" in fields:
            yield fields
