"""Pause, resume, retry; `after`, deadlines, preemption, quotas and expected starts, over HTTP."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from sqlalchemy import update
from starlette.testclient import TestClient

from service.auth.subjects import ALL_SCOPES, Scope
from service.db.engine import Database
from service.db.tables import Job
from service.jobs import endings, workers
from service.jobs.claims import claim
from service.jobs.endings import Trained
from service.jobs.progress import record_checkpoint, record_progress
from service.jobs.transitions import Attempt
from tests.api.conftest import MakeApp, MakeKey, bearer, problem
from tests.api.job_requests import FORECASTING, SERIES, submit, upload
from tests.job_records import take

JOBS = "/api/v1/jobs"
SOON = (datetime.now(UTC) + timedelta(hours=2)).isoformat()


@pytest.fixture
def series(client: TestClient, headers: dict[str, str]) -> str:
    return upload(client, headers, "Hourly Demand.csv", SERIES)


class Api:
    """Calls with one key."""

    def __init__(self, client: TestClient, headers: dict[str, str], dataset: str) -> None:
        self.client, self.headers, self.dataset = client, headers, dataset

    def submit(self, **body: Any) -> dict[str, Any]:
        return submit(self.client, self.headers, self.dataset, **body)

    def get(self, job: dict[str, Any]) -> Any:
        return self.client.get(f"{JOBS}/{job['id']}", headers=self.headers).json()

    def control(self, job: dict[str, Any], action: str, **options: Any) -> dict[str, Any]:
        path = f"{JOBS}/{job['id']}/{action}"
        response = self.client.post(path, headers=self.headers, **options)
        assert response.status_code == 202, response.text
        view: dict[str, Any] = response.json()
        return view

    def refused(
        self, job: dict[str, Any], action: str, **options: Any
    ) -> tuple[int, str, dict[str, Any]]:
        path = f"{JOBS}/{job['id']}/{action}"
        response = self.client.post(path, headers=self.headers, **options)
        return response.status_code, problem(response), response.json()


@pytest.fixture
def api(client: TestClient, headers: dict[str, str], series: str) -> Api:
    return Api(client, headers, series)


@pytest.fixture
def broker(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as broker:
        yield broker


def claimed(database: Database) -> Attempt:
    with database.transaction() as db:
        return take(db).attempt


def failed(database: Database, attempt: Attempt) -> None:
    with database.transaction() as db:
        endings.fail(db, attempt, "diverged", "nan")


def succeeded(database: Database, attempt: Attempt) -> None:
    with database.transaction() as db:
        endings.finish(db, attempt, Trained("x", "a" * 64, {}, 1, {}), code_version="1")


# Pause and resume


def test_a_queued_job_is_held_and_let_go(api: Api, broker: redis.Redis) -> None:
    job = api.submit()
    assert (job["hold"], job["pause_requested"]) == (None, False)
    for _ in range(2):
        paused = api.control(job, "pause")
        assert (paused["state"], paused["hold"]) == ("queued", "paused")
        assert (paused["queue_position"], paused["starts_in_seconds"]) == (None, None)
    woken = broker.llen("reprise.cpu")
    resumed = api.control(job, "resume")
    assert (resumed["hold"], resumed["queue_position"]) == (None, 1)
    assert broker.llen("reprise.cpu") == woken + 1


def test_a_running_job_is_asked_to_stop(api: Api, database: Database) -> None:
    job = api.submit()
    attempt = claimed(database)
    asked = api.control(job, "pause")
    assert (asked["state"], asked["pause_requested"], asked["hold"]) == ("running", True, None)
    with database.transaction() as db:
        endings.release(db, attempt)
    paused = api.get(job)
    assert (paused["state"], paused["pause_requested"], paused["hold"]) == (
        "queued",
        False,
        "paused",
    )
    assert api.control(job, "resume")["hold"] is None


def test_a_pause_is_taken_back(api: Api, database: Database) -> None:
    job = api.submit()
    claimed(database)
    api.control(job, "pause")
    assert api.control(job, "resume")["pause_requested"] is False


@pytest.mark.parametrize("action", ["pause", "resume", "retry"])
def test_what_a_state_does_not_allow(api: Api, database: Database, action: str) -> None:
    job = api.submit()
    succeeded(database, claimed(database))
    status, kind, body = api.refused(job, action)
    assert (status, kind) == (409, "conflict")
    assert f"is succeeded: there is nothing to {action}" in body["detail"]


def test_a_job_that_is_being_cancelled_is_not_paused(api: Api, database: Database) -> None:
    job = api.submit()
    claimed(database)
    api.control(job, "cancel")
    status, _, body = api.refused(job, "pause")
    assert status == 409
    assert "being cancelled" in body["detail"]


# Who may, and what


@pytest.mark.parametrize("action", ["pause", "resume", "retry"])
def test_a_job_that_is_not_here(
    api: Api, client: TestClient, make_key: MakeKey, action: str
) -> None:
    stranger = Api(client, bearer(make_key(workspace_name="other")), api.dataset)
    job = api.submit()
    assert stranger.refused(job, action)[:2] == (404, "not-found")
    assert api.refused({"id": uuid4()}, action)[:2] == (404, "not-found")
    assert api.refused({"id": "../x"}, action)[0] in (404, 422)


@pytest.mark.parametrize("action", ["pause", "resume", "retry"])
def test_it_takes_the_scope_to_write(
    api: Api, client: TestClient, make_key: MakeKey, action: str
) -> None:
    job = api.submit()
    reader = Api(client, bearer(make_key(ALL_SCOPES - {Scope.JOBS_WRITE})), api.dataset)
    assert reader.refused(job, action)[:2] == (403, "forbidden")
    nobody = client.post(f"{JOBS}/{job['id']}/{action}")
    assert nobody.status_code == 401


# Retry


def test_a_failed_job_is_tried_again(api: Api, database: Database, broker: redis.Redis) -> None:
    job = api.submit()
    attempt = claimed(database)
    with database.transaction() as db:
        record_checkpoint(db, attempt, step=5, path="x/5", sha256="c" * 64)
    failed(database, attempt)
    assert api.get(job)["error"] == {"type": "diverged", "detail": "nan"}
    woken = broker.llen("reprise.cpu")
    again = api.control(job, "retry")
    assert (again["state"], again["error"], again["finished_at"]) == ("queued", None, None)
    assert (again["attempt"], again["queue_position"]) == (1, 1)
    assert broker.llen("reprise.cpu") == woken + 1
    kept = api.client.get(f"{JOBS}/{job['id']}/checkpoints", headers=api.headers).json()["data"]
    assert [checkpoint["step"] for checkpoint in kept] == [5]
    assert api.refused(job, "retry")[0] == 409  # it waits already
    succeeded(database, claimed(database))
    assert (api.get(job)["state"], api.get(job)["attempt"]) == ("succeeded", 2)


def test_a_cancelled_job_is_tried_again(api: Api) -> None:
    job = api.submit()
    api.control(job, "cancel")
    again = api.control(job, "retry")
    assert (again["state"], again["cancel_requested"], again["attempt"]) == ("queued", False, 0)


def test_a_retry_may_move_the_deadline(api: Api, database: Database) -> None:
    job = api.submit(deadline=SOON)
    failed(database, claimed(database))
    with database.transaction() as db:
        db.execute(update(Job).values(deadline=datetime(2001, 1, 1, tzinfo=UTC)))
    status, _, body = api.refused(job, "retry")
    assert status == 409
    assert "give it another one" in body["detail"]
    later = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0)
    moved = api.control(job, "retry", json={"deadline": later.isoformat()})
    assert datetime.fromisoformat(moved["deadline"]) == later
    failed(database, claimed(database))
    assert api.control(job, "retry", json={})["deadline"] == moved["deadline"]
    failed(database, claimed(database))
    assert api.control(job, "retry", json={"deadline": None})["deadline"] is None


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"deadline": "2001-01-01T00:00:00Z"}, "body.deadline"),
        ({"deadline": "tomorrow"}, "body.deadline"),
        ({"deadline": 2_000_000_000}, "body.deadline"),
        ({"priority": 5}, "body.priority"),
        ([], "body"),
    ],
)
def test_bad_retries(api: Api, body: Any, place: str) -> None:
    job = api.submit()
    api.control(job, "cancel")
    status, kind, answer = api.refused(job, "retry", json=body)
    assert (status, kind) == (422, "validation-error")
    assert place in [fault["location"] for fault in answer["errors"]]
    assert api.get(job)["state"] == "cancelled"


def test_without_its_data_set_a_job_is_not_tried_again(api: Api) -> None:
    job = api.submit()
    api.control(job, "cancel")
    path = f"/api/v1/datasets/{api.dataset}"
    assert api.client.delete(path, headers=api.headers).status_code == 204
    status, kind, body = api.refused(job, "retry")
    assert (status, kind) == (409, "conflict")
    assert "data set" in body["detail"]


def test_events_go_on_where_a_job_is_tried_again(api: Api, database: Database) -> None:
    """The stream used to end with the first end, though the job had gone on since."""
    job = api.submit()
    failed(database, claimed(database))
    api.control(job, "retry")
    succeeded(database, claimed(database))
    path = f"{JOBS}/{job['id']}/events"
    stream = api.client.get(path, headers={**api.headers, "Accept": "text/event-stream"})
    lines = [line for line in stream.text.split("\n") if line.startswith("data: ")]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert [event["seq"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert [event["data"]["reason"] for event in events] == [
        "submitted",
        "claimed",
        "failed",
        "retried",
        "claimed",
        "finished",
    ]
    assert [event["attempt"] for event in events] == [0, 1, 1, 1, 2, 2]


# After


def test_a_job_waits_for_another(api: Api, database: Database) -> None:
    first = api.submit()
    second = api.submit(after=[first["id"]])
    assert (second["state"], second["hold"]) == ("queued", "after")
    assert (second["after"], second["queue_position"]) == ([first["id"]], None)
    assert api.control(second, "pause")["hold"] == "paused"
    assert api.control(second, "resume")["hold"] == "after"
    succeeded(database, claimed(database))
    ready = api.get(second)
    assert (ready["hold"], ready["after"], ready["queue_position"]) == (None, [first["id"]], 1)


def test_a_job_fails_with_the_one_that_it_waits_for(api: Api) -> None:
    first = api.submit()
    second = api.submit(after=[first["id"]])
    api.control(first, "cancel")
    ended = api.get(second)
    assert (ended["state"], ended["hold"]) == ("failed", None)
    assert ended["error"]["type"] == "dependency-failed"
    assert first["id"] in ended["error"]["detail"]
    status, _, body = api.refused(second, "retry")
    assert status == 409
    assert first["id"] in body["detail"]
    api.control(first, "retry")
    assert api.control(second, "retry")["hold"] == "after"


def test_what_cannot_be_waited_for(
    api: Api, client: TestClient, make_key: MakeKey, series: str
) -> None:
    theirs = bearer(make_key(workspace_name="other"))
    strange = submit(client, theirs, upload(client, theirs, "series.csv", SERIES))["id"]
    good, gone = api.submit()["id"], api.submit()
    api.control(gone, "cancel")
    wrong: list[tuple[Any, list[str]]] = [
        ([good, strange], ["body.after.1"]),
        ([str(uuid4()), good, gone["id"]], ["body.after.0", "body.after.2"]),
        ([good, good], ["body.after"]),
        (["x"], ["body.after.0"]),
        (good, ["body.after"]),
        ([str(uuid4()) for _ in range(101)], ["body.after"]),
    ]
    for after, places in wrong:
        body = {"task": FORECASTING, "dataset": series, "after": after}
        response = client.post(JOBS, json=body, headers=api.headers)
        assert (response.status_code, problem(response)) == (422, "validation-error"), after
        assert [fault["location"] for fault in response.json()["errors"]] == places


# Deadlines


def test_a_deadline_is_kept_with_the_job(api: Api) -> None:
    job = api.submit(deadline="2999-12-31T23:00:00+01:00")
    assert datetime.fromisoformat(job["deadline"]) == datetime(2999, 12, 31, 22, tzinfo=UTC)
    assert api.submit()["deadline"] is None


@pytest.mark.parametrize(
    "deadline",
    [
        "2001-01-01T00:00:00Z",
        "2999-12-31T23:00:00",  # of which zone?
        "9999-12-31T23:00:00-05:00",  # in UTC that is the year 10000
        "soon",
        "32503680000",
        32_503_680_000,
        True,
    ],
)
def test_bad_deadlines(api: Api, series: str, deadline: Any) -> None:
    body = {"task": FORECASTING, "dataset": series, "deadline": deadline}
    response = api.client.post(JOBS, json=body, headers=api.headers)
    assert (response.status_code, problem(response)) == (422, "validation-error")
    assert [fault["location"] for fault in response.json()["errors"]] == ["body.deadline"]


# Preemption, quotas, expected starts


def running_on_a_worker(database: Database) -> Attempt:
    """A worker of one slot, and in it the job that is next."""
    worker_id = UUID(int=7)
    with database.transaction() as db:
        workers.register(
            db, worker_id, hostname="h", pid=1, queue="cpu", slots=1, devices={"gpus": []}
        )
        found = claim(db, worker_id=worker_id, queues=["cpu"], lease_seconds=60)
        assert found is not None
        return found.attempt


def test_a_job_that_preempts_has_room_made_at_once(api: Api, database: Database) -> None:
    low = api.submit()
    attempt = running_on_a_worker(database)
    assert api.submit(priority=1)["preempts"] is False
    path = f"{JOBS}/{low['id']}/events"
    count = len(api.client.get(path, headers=api.headers).json()["data"])
    high = api.submit(priority=2, preempts=True)
    assert (high["preempts"], high["queue_position"]) == (True, 1)
    last = api.client.get(path, headers=api.headers).json()["data"][count:]
    assert [event["type"] for event in last] == ["message"]
    assert high["id"] in last[0]["data"]["text"]
    with database.transaction() as db:
        endings.release(db, attempt)
    assert (api.get(low)["state"], api.get(low)["hold"]) == ("queued", None)


def test_the_settings_limit_every_workspace(
    make_app: MakeApp, api: Api, database: Database
) -> None:
    """completions-37, of trainings: generations have no budget."""
    app = make_app(max_training_minutes=5)
    api.submit()
    attempt = claimed(database)
    with database.transaction() as db:
        from service.db.tables import JobAttempt

        hour_ago = datetime.now(UTC) - timedelta(hours=1)
        db.execute(update(JobAttempt).values(started_at=hour_ago))
        endings.fail(db, attempt, "diverged", "nan")
    with TestClient(app, base_url="http://localhost") as limited:
        body = {"task": FORECASTING, "dataset": api.dataset}
        response = limited.post(JOBS, json=body, headers=api.headers)
        assert (response.status_code, problem(response)) == (429, "quota-exceeded")
        assert "60 minutes" in response.json()["detail"]
        assert int(response.headers["retry-after"]) > 0
        retried = limited.post(f"{JOBS}/{attempt.job_id}/retry", headers=api.headers)
        assert (retried.status_code, problem(retried)) == (429, "quota-exceeded")


def test_a_waiting_job_says_when_it_may_start(api: Api, database: Database) -> None:
    first = api.submit()
    assert first["starts_in_seconds"] is None  # there is no worker
    attempt = running_on_a_worker(database)
    progress = {"step": 40, "total_steps": 100, "steps_per_second": 2.0, "epoch": 0.4}
    with database.transaction() as db:
        record_progress(db, attempt, progress=progress, metrics=None, events=[])
    assert api.get(first)["starts_in_seconds"] is None
    assert api.submit()["starts_in_seconds"] == 30.0
    assert api.submit()["starts_in_seconds"] is None  # nobody knows how long the one before takes
    listed = api.client.get(JOBS, headers=api.headers).json()["data"]
    assert [(job["queue_position"], job["starts_in_seconds"]) for job in listed] == [
        (2, None),
        (1, 30.0),
        (None, None),
    ]
