"""Idempotency-Key: bad_inputs jobs-28, 29, 31."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import func, select, text
from starlette.testclient import TestClient

from service.db.engine import Database
from service.db.tables import IdempotencyKey, Workspace
from service.idempotency import Reservation
from tests.api.conftest import MakeKey, bearer, problem
from tests.api.probe import HOOKS

SERIES = "y\n" + "\n".join(str(10 + i % 4) for i in range(120)) + "\n"
ONCE, KEPT = "/api/v1/probe/once", "/api/v1/probe/kept"
Headers = dict[str, str]


def post(
    client: TestClient, headers: Headers, key: str | bytes, path: str = ONCE, **body: Any
) -> Response:
    lines: Any = {**headers, "Idempotency-Key": key}
    return client.post(path, headers=lines, json=body)


def made(database: Database) -> int:
    with database.transaction() as db:
        query = select(func.count()).where(Workspace.name.like("made-%"))
        return db.scalars(query).one()


def test_a_repetition_gets_the_first_answer(
    probe: TestClient, headers: Headers, database: Database
) -> None:
    first = post(probe, headers, "k1", text="ключ")
    again = post(probe, headers, "k1", text="ключ")
    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert first.headers["location"] == again.headers["location"]
    assert first.headers["content-type"] == again.headers["content-type"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert first.headers["x-request-id"] != again.headers["x-request-id"]
    assert made(database) == 1


def test_without_a_key_each_request_counts(
    probe: TestClient, headers: Headers, database: Database
) -> None:
    for _ in range(2):
        assert probe.post(ONCE, headers=headers, json={}).status_code == 201
    assert made(database) == 2


def test_fifty_at_the_same_time_make_one(
    probe: TestClient, headers: Headers, database: Database
) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: post(probe, headers, "race"), range(50)))
    statuses = Counter(answer.status_code for answer in answers)
    assert made(database) == 1
    assert set(statuses) <= {201, 409}
    assert statuses[201] >= 1
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert problem(answer) == "idempotency-in-progress"
            assert answer.headers["retry-after"] == "1"
    assert post(probe, headers, "race").headers["idempotent-replayed"] == "true"


def test_another_body_under_the_same_key(
    probe: TestClient, headers: Headers, database: Database
) -> None:
    post(probe, headers, "k1", text="a")
    response = post(probe, headers, "k1", text="b")
    assert response.status_code == 422
    assert problem(response) == "idempotency-mismatch"
    assert made(database) == 1


def test_unusable_keys(probe: TestClient, headers: Headers, database: Database) -> None:
    for key in ("", " ", "x" * 10_240, "x" * 256, "ключ".encode(), b"\xff", "a b", "a\tb"):
        response = post(probe, headers, key)
        assert response.status_code == 400, key
        assert problem(response) == "idempotency-key-invalid"
    twice = [*headers.items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert probe.post(ONCE, headers=twice, json={}).status_code == 400
    assert made(database) == 0
    assert post(probe, headers, "x" * 255).status_code == 201


def test_a_refused_request_leaves_its_key_free(
    probe: TestClient, headers: Headers, database: Database
) -> None:
    assert post(probe, headers, "k1", rate=-1).status_code == 422
    assert post(probe, headers, "k1", text="fail").status_code == 422
    assert made(database) == 0
    assert post(probe, headers, "k1", text="good").status_code == 201


def test_workspaces_do_not_share_keys(
    probe: TestClient, headers: Headers, make_key: MakeKey, database: Database
) -> None:
    others = bearer(make_key(workspace_name="other"))
    assert post(probe, headers, "k1", text="a").status_code == 201
    assert post(probe, others, "k1", text="b").status_code == 201
    assert made(database) == 2


def test_a_request_that_still_runs(probe: TestClient, headers: Headers, database: Database) -> None:
    """Its process may also be dead: after the lease the key is taken over."""
    post(probe, headers, "k1")
    with database.transaction() as db:
        db.execute(text("UPDATE idempotency_keys SET status = NULL, body = NULL"))
    response = post(probe, headers, "k1")
    assert (response.status_code, problem(response)) == (409, "idempotency-in-progress")
    assert post(probe, headers, "k1", text="b").status_code == 422
    with database.transaction() as db:
        db.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '11 minutes'"))
    assert post(probe, headers, "k1").status_code == 201
    assert made(database) == 2


def killed_after_its_work(*_: object) -> None:
    """In place of `Reservation.complete`: it does not come to that any more."""


def test_a_process_that_dies_after_its_work_did_it_once(
    probe: TestClient, headers: Headers, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer was lost: for ten minutes a repetition was refused, and then it did the work once
    more."""
    with monkeypatch.context() as patch:
        patch.setattr(Reservation, "complete", killed_after_its_work)
        post(probe, headers, "k1", KEPT, text="a")
    again = post(probe, headers, "k1", KEPT, text="a")
    assert (again.status_code, again.headers["location"]) == (201, "/made/1")
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == {"name": "a", "workspaces": 2}
    assert made(database) == 1


def test_a_kept_answer_is_the_one_that_was_sent(probe: TestClient, headers: Headers) -> None:
    first, again = (post(probe, headers, "k1", KEPT, text="ключ") for _ in range(2))
    assert first.content == again.content
    assert first.headers["content-type"] == again.headers["content-type"]
    assert first.headers["location"] == again.headers["location"]


def test_a_submission_that_dies_after_its_commit_is_one_job(
    client: TestClient, headers: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"file": ("series.csv", SERIES)}
    dataset = client.post("/api/v1/datasets", headers=headers, files=files).json()["id"]
    body = {"task": "time-series-forecasting", "dataset": dataset}
    with monkeypatch.context() as patch:
        patch.setattr(Reservation, "complete", killed_after_its_work)
        post(client, headers, "k1", "/api/v1/jobs", **body)
    again = post(client, headers, "k1", "/api/v1/jobs", **body)
    assert again.status_code == 202
    (job,) = client.get("/api/v1/jobs", headers=headers).json()["data"]
    assert again.json()["id"] == job["id"]
    assert again.headers["location"] == f"/api/v1/jobs/{job['id']}"


def test_a_request_that_was_taken_over_commits_nothing(
    probe: TestClient, headers: Headers, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was only slow: the one that took its key over does the work."""

    def take_over() -> None:
        with database.transaction() as db:
            db.execute(text("UPDATE idempotency_keys SET created_at = now()"))

    monkeypatch.setitem(HOOKS, "slow", take_over)
    response = post(probe, headers, "k1", KEPT, text="slow")
    assert (response.status_code, problem(response)) == (409, "idempotency-in-progress")
    assert made(database) == 0


@pytest.mark.parametrize(("path", "status"), [(ONCE, 409), (KEPT, 201)])
def test_the_key_of_a_dead_process_is_taken_over(
    probe: TestClient, headers: Headers, database: Database, path: str, status: int
) -> None:
    """After a minute, where the first one could commit nothing any more if it did live."""
    post(probe, headers, "k1", path)
    with database.transaction() as db:
        db.execute(
            text(
                "UPDATE idempotency_keys SET status = NULL, body = NULL,"
                " created_at = now() - interval '61 seconds'"
            )
        )
    assert post(probe, headers, "k1", path).status_code == status


def test_an_answer_is_kept_for_its_time(
    probe: TestClient, headers: Headers, database: Database
) -> None:
    post(probe, headers, "k1", text="a")
    for age, replayed in (("23 hours", True), ("25 hours", False)):
        with database.transaction() as db:
            db.execute(
                text("UPDATE idempotency_keys SET created_at = now() - cast(:age AS interval)"),
                {"age": age},
            )
        response = post(probe, headers, "k1", text="a")
        assert ("idempotent-replayed" in response.headers) is replayed


def test_the_secret_of_a_new_key_is_never_stored(
    client: TestClient, headers: Headers, database: Database
) -> None:
    """Making a key ignores the header: an answer that is stored could be read."""
    lines = {**headers, "Idempotency-Key": "k1"}
    body = {"name": "a", "scopes": ["predict"]}
    answers = [client.post("/api/v1/keys", headers=lines, json=body).json() for _ in range(2)]
    assert answers[0]["key"] != answers[1]["key"]
    with database.transaction() as db:
        assert db.scalars(select(func.count()).select_from(IdempotencyKey)).one() == 0
