from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from service.auth.subjects import ALL_SCOPES, Scope
from service.db.engine import Database
from service.db.tables import Job
from tests.api.conftest import MakeApp, MakeKey, bearer, problem
from tests.api.job_requests import CLASSIFICATION, FORECASTING, SERIES, upload

Headers = dict[str, str]
SCHEDULES = "/api/v1/schedules"


@pytest.fixture
def dataset(client: TestClient, headers: Headers) -> str:
    dataset = upload(client, headers, "series.csv", SERIES)
    point(client, headers, dataset)
    return dataset


def point(client: TestClient, headers: Headers, dataset: str) -> None:
    body = {"dataset": dataset}
    client.put("/api/v1/dataset-aliases/latest", json=body, headers=headers).raise_for_status()


def body(**changes: Any) -> dict[str, Any]:
    job = {"task": FORECASTING, "dataset": "latest", "model": "demand"}
    return {"name": "nightly", "cron": "30 4 * * *", "job": job, **changes}


def create(client: TestClient, headers: Headers, **changes: Any) -> dict[str, Any]:
    response = client.post(SCHEDULES, json=body(**changes), headers=headers)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    assert response.headers["location"] == f"{SCHEDULES}/{made['id']}"
    return made


def change(client: TestClient, headers: Headers, made: dict[str, Any], **changes: Any) -> Any:
    response = client.patch(f"{SCHEDULES}/{made['id']}", json=changes, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def next_run(schedule: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(schedule["next_run_at"])


@pytest.mark.usefixtures("dataset")
def test_a_schedule_shows_what_it_was_made_of_and_when_it_is_due(
    client: TestClient, headers: Headers
) -> None:
    made = create(client, headers)
    assert {name: made[name] for name in ("name", "cron", "timezone", "job", "enabled")} == {
        **body(),
        "timezone": "UTC",
        "enabled": True,
    }
    due = next_run(made)
    assert (due.hour, due.minute) == (4, 30)
    assert due > datetime.now(UTC)
    assert made["last_run_at"] is made["last_job"] is made["last_error"] is None
    assert client.get(f"{SCHEDULES}/{made['id']}", headers=headers).json() == made
    assert client.get(SCHEDULES, headers=headers).json() == {"data": [made], "has_more": False}


@pytest.mark.usefixtures("dataset")
def test_its_time_is_that_of_its_time_zone(client: TestClient, headers: Headers) -> None:
    made = create(client, headers, timezone="Asia/Tokyo")
    assert (next_run(made).hour, next_run(made).minute) == (19, 30)
    moved = change(client, headers, made, cron="0 12 * * *")
    assert next_run(moved).hour == 3
    moved = change(client, headers, made, timezone="UTC")
    assert (moved["cron"], next_run(moved).hour) == ("0 12 * * *", 12)


@pytest.mark.usefixtures("dataset")
def test_one_that_is_not_enabled_has_no_next_time(client: TestClient, headers: Headers) -> None:
    made = create(client, headers, enabled=False)
    assert (made["enabled"], made["next_run_at"]) == (False, None)
    moved = change(client, headers, made, cron="0 5 * * *")
    assert (moved["enabled"], moved["next_run_at"]) == (False, None)
    on = change(client, headers, made, enabled=True)
    assert next_run(on).hour == 5
    assert change(client, headers, made, enabled=False)["next_run_at"] is None


@pytest.mark.usefixtures("dataset")
def test_a_change_of_the_job_leaves_the_time(client: TestClient, headers: Headers) -> None:
    made = create(client, headers)
    job = {**made["job"], "model": "other"}
    moved = change(client, headers, made, job=job)
    assert (moved["job"], moved["next_run_at"]) == (job, made["next_run_at"])
    assert change(client, headers, made) == moved


@pytest.mark.usefixtures("dataset")
def test_a_deleted_one_is_gone(client: TestClient, headers: Headers) -> None:
    made = create(client, headers)
    assert client.delete(f"{SCHEDULES}/{made['id']}", headers=headers).status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        content = {} if method == "PATCH" else None
        path = f"{SCHEDULES}/{made['id']}"
        response = client.request(method, path, json=content, headers=headers)
        assert (response.status_code, problem(response)) == (404, "not-found")
    create(client, headers)  # its name is free again


def test_run_submits_now_and_once_at_a_time(
    client: TestClient, headers: Headers, dataset: str, database: Database
) -> None:
    made = create(client, headers, enabled=False)
    run = f"{SCHEDULES}/{made['id']}/run"
    response = client.post(run, headers=headers)
    assert response.status_code == 202
    ran = response.json()
    job = client.get(f"/api/v1/jobs/{ran['last_job']}", headers=headers).json()
    assert (job["state"], job["dataset"], job["model"]) == ("queued", dataset, "demand")
    assert ran["last_run_at"] is not None
    assert ran["next_run_at"] is None
    with database.transaction() as db:
        assert db.get_one(Job, job["id"]).created_by is not None
    response = client.post(run, headers=headers)
    assert (response.status_code, problem(response)) == (409, "conflict")
    assert job["id"] in response.json()["detail"]
    client.post(f"/api/v1/jobs/{job['id']}/cancel", headers=headers)
    assert client.post(run, headers=headers).status_code == 202


@pytest.mark.usefixtures("dataset")
def test_repeating_a_run_with_its_key_is_harmless(client: TestClient, headers: Headers) -> None:
    run = f"{SCHEDULES}/{create(client, headers)['id']}/run"
    answers = [client.post(run, headers=headers | {"Idempotency-Key": "k"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize(
    ("changes", "location", "words"),
    [
        ({"cron": "61 * * * *"}, "body.cron", "Bad minute"),
        ({"cron": "* * * * * *"}, "body.cron", "five fields"),
        ({"cron": "0 0 */40 * MON#5"}, "body.cron", "no day"),
        ({"timezone": "Mars/Olympus"}, "body.timezone", "is not a time zone"),
        ({"name": "Nightly run"}, "body.name", "pattern"),
        ({"every": "day"}, "body.every", "not permitted"),
        ({"job": {"task": "chess", "dataset": "latest"}}, "body.job", "does not match"),
        ({"job": {"task": FORECASTING, "dataset": "latest", "x": 1}}, "body.job.x", "permitted"),
        (
            {"job": {"task": FORECASTING, "dataset": "latest", "deadline": "2999-01-01T00:00:00Z"}},
            "body.job",
            "neither `after` nor `deadline`",
        ),
        ({"job": {"task": CLASSIFICATION, "dataset": "latest"}}, "body.job.dataset", "can serve"),
        (
            {"job": {"task": FORECASTING, "dataset": "latest", "data": {"value_column": "no"}}},
            "body.job.data",
            "no",
        ),
    ],
)
@pytest.mark.usefixtures("dataset")
def test_what_cannot_be_is_refused_with_its_place(
    changes: dict[str, Any], location: str, words: str, client: TestClient, headers: Headers
) -> None:
    response = client.post(SCHEDULES, json=body(**changes), headers=headers)
    assert (response.status_code, problem(response)) == (422, "validation-error")
    (fault,) = response.json()["errors"]
    assert fault["location"].startswith(location), fault
    assert words in fault["message"], fault


@pytest.mark.usefixtures("dataset")
def test_a_change_is_checked_like_a_new_one(client: TestClient, headers: Headers) -> None:
    made = create(client, headers)
    path = f"{SCHEDULES}/{made['id']}"
    for wrong, status in (
        ({"cron": "never"}, 422),
        ({"timezone": "../UTC"}, 422),
        ({"name": "other"}, 422),
        ({"job": {"task": FORECASTING, "dataset": str(uuid4())}}, 404),
        ({"job": {"task": FORECASTING, "dataset": "oldest"}}, 404),
    ):
        assert client.patch(path, json=wrong, headers=headers).status_code == status, wrong
    assert client.get(path, headers=headers).json() == made


@pytest.mark.usefixtures("dataset")
def test_a_name_is_taken_once(client: TestClient, headers: Headers, make_key: MakeKey) -> None:
    create(client, headers)
    response = client.post(SCHEDULES, json=body(), headers=headers)
    assert (response.status_code, problem(response)) == (409, "conflict")


def test_there_is_a_limit(make_app: MakeApp, headers: Headers) -> None:
    with TestClient(make_app(max_schedules=1), base_url="http://localhost") as client:
        point(client, headers, upload(client, headers, "series.csv", SERIES))
        create(client, headers)
        response = client.post(SCHEDULES, json=body(name="second"), headers=headers)
    assert (response.status_code, problem(response)) == (429, "quota-exceeded")


@pytest.mark.usefixtures("dataset")
def test_a_priority_needs_its_scope_also_on_a_schedule(
    client: TestClient, headers: Headers, make_key: MakeKey
) -> None:
    writer = bearer(make_key(ALL_SCOPES - {Scope.KEYS_ADMIN}))
    job = {**body()["job"], "priority": 1}
    made = create(client, writer)
    for response in (
        client.post(SCHEDULES, json=body(name="first", job=job), headers=writer),
        client.patch(f"{SCHEDULES}/{made['id']}", json={"job": job}, headers=writer),
    ):
        assert (response.status_code, problem(response)) == (403, "forbidden")
    create(client, headers, name="first", job=job)


@pytest.mark.usefixtures("dataset")
def test_another_workspace_sees_and_runs_none_of_it(
    client: TestClient, headers: Headers, make_key: MakeKey
) -> None:
    path = f"{SCHEDULES}/{create(client, headers)['id']}"
    other = bearer(make_key(workspace_name="other"))
    assert client.get(SCHEDULES, headers=other).json()["data"] == []
    assert client.get(path, headers=other).status_code == 404
    assert client.patch(path, json={"enabled": False}, headers=other).status_code == 404
    assert client.post(f"{path}/run", headers=other).status_code == 404
    assert client.delete(path, headers=other).status_code == 404
    assert client.get(path, headers=headers).json()["enabled"] is True
