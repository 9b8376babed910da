"""`/api/v1/jobs`, with jobs that nobody works on: the test itself plays the worker."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
from pydantic import SecretStr
from starlette.testclient import TestClient

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
from tests.job_records import take

SERIES = "time,value\n" + "".join(
    f"2024-01-{1 + i // 24:02d}T{i % 24:02d}:00:00,{10 + i % 24}\n" for i in range(240)
)
REVIEWS = "text,label\n" + "a warm and lovely film,good\na cold and awful mess,bad\n" * 40
CORPUS = "the quick brown fox jumps over the lazy dog\n" * 100
FORECASTING, CLASSIFICATION, GENERATION = (
    "time-series-forecasting",
    "text-classification",
    "text-generation",
)


def upload(client: TestClient, headers: dict[str, str], name: str, content: str) -> str:
    response = client.post("/api/v1/datasets", files={"file": (name, content)}, headers=headers)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


@pytest.fixture
def series(client: TestClient, headers: dict[str, str]) -> str:
    return upload(client, headers, "Hourly Demand.csv", SERIES)


def submit(
    client: TestClient, headers: dict[str, str], dataset: str, **body: Any
) -> dict[str, Any]:
    response = client.post(
        "/api/v1/jobs", json={"task": FORECASTING, "dataset": dataset, **body}, headers=headers
    )
    assert response.status_code == 202, response.text
    found: dict[str, Any] = response.json()
    return found


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


@pytest.mark.parametrize("dataset", [str(uuid4()), "other tenant's"])
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


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("jobs-07", {"metadata": {"tag": "\x00"}}, ""),
    ("jobs-07", {"model": "a\x00b"}, ""),
    ("jobs-10", {"is_admin": True}, "body.is_admin"),
    ("jobs-10", {"state": "running"}, "body.state"),
    ("jobs-10", {"attempt": 3}, "body.attempt"),
    *(
        ("jobs-11", {"architecture": {"hidden_size": size}}, "body.architecture.hidden_size")
        for size in (0, -1, 1.5, "128", True, 10**9)
    ),
    *(
        ("jobs-14", {"training": {"learning_rate": rate}}, "body.training.learning_rate")
        for rate in (0, -1, 1e10)
    ),
    *(
        ("jobs-15", {"training": {"max_epochs": epochs}}, "body.training.max_epochs")
        for epochs in (0, 10**12)
    ),
    ("jobs-15", {"training": {"max_minutes": -1}}, "body.training.max_minutes"),
    *(
        ("jobs-16", {"architecture": {"dropout": share}}, "body.architecture.dropout")
        for share in (1.0, -0.1)
    ),
    *(
        ("jobs-17", {"training": {"optimizer": name}}, "body.training.optimizer")
        for name in ("__import__('os')", "torch.optim.SGD")
    ),
    *(("jobs-18", {"device": name}, "body.device") for name in ("cuda:99", "cpu; rm -rf")),
    ("jobs-21", {"resume_from": "../../x"}, "body.resume_from"),
    ("jobs-25", {"webhook_url": "http://127.0.0.1/"}, "body.webhook_url"),
    ("a task that is none", {"task": "horoscopes"}, "body"),
    ("no id", {"dataset": "../../etc/passwd"}, "body.dataset"),
    ("an id of another type", {"dataset": 7}, "body.dataset"),
    *(
        ("a model's name", {"model": name}, "body.model")
        for name in ("", "A", "../x", ".hidden", "a/b", "a" * 65, 7, "a\n")
    ),
    ("metadata of another type", {"metadata": {"a": 1}}, "body.metadata.a"),
    ("much metadata", {"metadata": {str(i): "" for i in range(17)}}, "body.metadata"),
    ("long metadata", {"metadata": {"a": "b" * 513}}, "body.metadata.a"),
    ("priority", {"priority": 10**9}, "body.priority"),
    ("a column that is not there", {"data": {"target_column": "nope"}}, "body.data.target_column"),
    (
        "two directions",
        {"architecture": {"bidirectional": True}},
        "body.architecture.bidirectional",
    ),
]


def test_bad_bodies(client: TestClient, headers: dict[str, str], series: str) -> None:
    """Each is refused with its place, and a good one is taken afterwards."""
    wrong = []
    for row, change, location in BAD:
        body = {"task": FORECASTING, "dataset": series, **change}
        response = client.post("/api/v1/jobs", json=body, headers=headers)
        if (response.status_code, problem(response)) != (422, "validation-error"):
            wrong.append(f"{row} {change}: {response.text[:200]}")
        places = [fault["location"] for fault in response.json().get("errors", [])]
        if location and location not in places:
            wrong.append(f"{row} {change}: names {places}")
    assert not wrong, "\n".join(wrong)
    submit(client, headers, series)


@pytest.mark.parametrize(
    ("row", "body", "status", "kind"),
    [
        ("jobs-01", b"[]", 422, "validation-error"),
        ("jobs-01", b'"x"', 422, "validation-error"),
        ("jobs-01", b"null", 422, "validation-error"),
        ("jobs-01", b"", 422, "validation-error"),
        ("jobs-02", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400, "malformed-json"),
        ("jobs-03", b'{"task": "\xff"}', 400, "malformed-json"),
        ("jobs-04", b'{"training": {"learning_rate": NaN}}', 400, "malformed-json"),
        (
            "jobs-05",
            b'{"task": "T", "training": {"learning_rate": 1e999}}',
            422,
            "validation-error",
        ),
        ("jobs-09", b'{"training": {"seed": ' + b"9" * 5000 + b"}}", 400, "malformed-json"),
    ],
)
def test_bad_bytes(
    client: TestClient, headers: dict[str, str], row: str, body: bytes, status: int, kind: str
) -> None:
    body = body.replace(b'"T"', json.dumps(FORECASTING).encode())
    response = client.post(
        "/api/v1/jobs", content=body, headers={**headers, "Content-Type": "application/json"}
    )
    assert (response.status_code, problem(response)) == (status, kind)


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"batch_size": 60_000}},
        {"data": {"horizon": 200, "context_length": 200}},
    ],
)
def test_data_that_is_too_small(
    client: TestClient, headers: dict[str, str], series: str, change: dict[str, Any]
) -> None:
    """bad_inputs jobs-13: the message names what was asked for and what is there."""
    body = {"task": FORECASTING, "dataset": series, **change}
    response = client.post("/api/v1/jobs", json=body, headers=headers)
    assert (response.status_code, problem(response)) == (422, "dataset-too-small")
    assert any(number in response.json()["detail"] for number in ("60000", "60,000", "400", "200"))


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


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1",
        "limit=0",
        "limit=1000000000",
        "after=%00",
        "after=garbage",
        f"after={uuid4()}",
        "sort=;drop",
        "state=sleeping",
        "task=x",
    ],
)
def test_bad_lists(client: TestClient, headers: dict[str, str], query: str) -> None:
    """bad_inputs jobs-38."""
    response = client.get(f"/api/v1/jobs?{query}", headers=headers)
    assert (response.status_code, problem(response)) == (422, "validation-error")


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
        endings.release(db, attempt)
    assert cancel(running) == (202, "cancelled")
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


@pytest.mark.parametrize("seq", ["-1", "x", "1e3", str(2**63)])
def test_a_last_event_id_that_is_none(
    client: TestClient, headers: dict[str, str], series: str, seq: str
) -> None:
    path = f"/api/v1/jobs/{submit(client, headers, series)['id']}/events"
    streaming = {**headers, "Accept": "text/event-stream", "Last-Event-ID": seq}
    response = client.get(path, headers=streaming)
    assert (response.status_code, problem(response)) == (422, "validation-error")


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
