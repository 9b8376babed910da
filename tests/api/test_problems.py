"""Errors: one form for all of them, and no leak."""

import logging
import re

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import text
from starlette.testclient import TestClient

from service.auth.keys import new_key
from service.db.engine import Database
from tests.api.asgi import call
from tests.api.conftest import MakeApp, bearer, problem

KEYS = "/api/v1/keys"
NOWHERE = SecretStr("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
Headers = dict[str, str]


def test_a_path_without_a_route(client: TestClient, headers: Headers) -> None:
    for path in ("/nope", "/api/v1/keys/", "/api/v1//keys", "/docs", "/metric", "/a%00b"):
        response = client.get(path, headers=headers)
        assert response.status_code == 404, path
        assert problem(response) == "not-found"


def test_a_method_that_a_path_does_not_have(client: TestClient, headers: Headers) -> None:
    """forecast-31, sentiment-38."""
    for method in ("PATCH", "PUT", "TRACE", "OPTIONS", "HEAD", "BREW"):
        response = client.request(method, KEYS, headers=headers)
        assert response.status_code == 405, method
        assert response.headers["allow"] == "GET, POST"
        if method != "HEAD":
            assert problem(response) == "method-not-allowed"


def test_every_answer_has_its_headers(client: TestClient, headers: Headers) -> None:
    for response in (
        client.get("/health"),
        client.get(KEYS),
        client.get(KEYS, headers=headers),
        client.get("/nope", headers=headers),
        client.get("/health", headers={"Host": "evil.example"}),
    ):
        assert re.fullmatch(r"[0-9a-f]{32}", response.headers["x-request-id"])
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert "server" not in response.headers


def test_a_harmless_request_id_is_kept_and_any_other_replaced(client: TestClient) -> None:
    for given, kept in (
        ("trace-1.a_B", True),
        ("x" * 65, False),
        ("a b", False),
        ("<script>", False),
        ("", False),
    ):
        response = client.get("/health", headers={"X-Request-Id": given})
        assert (response.headers["x-request-id"] == given) is kept, given


def test_a_bug_is_told_without_its_details(
    probe: TestClient, headers: Headers, caplog: pytest.LogCaptureFixture
) -> None:
    """dashboard-29."""
    response = probe.get("/api/v1/probe/error/bug", headers=headers)
    assert response.status_code == 500
    assert problem(response) == "internal"
    for leak in ("secret detail", "RuntimeError", "Traceback", ".py"):
        assert leak not in response.text
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "the secret detail"


def test_errors_of_the_science(probe: TestClient, headers: Headers) -> None:
    for name, slug in (
        ("too-small", "dataset-too-small"),
        ("mismatch", "model-input-mismatch"),
        ("config", "validation-error"),
    ):
        response = probe.get(f"/api/v1/probe/error/{name}", headers=headers)
        assert (response.status_code, problem(response)) == (422, slug)


def test_no_input_is_echoed_at_length(probe: TestClient, headers: Headers) -> None:
    """completions-30."""
    long = "Q" * 5_000
    for url, body in (
        ("/api/v1/probe/echo", {long: 1}),
        ("/api/v1/probe/echo", {"rate": long}),
        ("/api/v1/probe/echo", {"id": long}),
        ("/api/v1/probe/echo", {"at": long}),
        (f"/api/v1/{long}", {}),
        (f"{KEYS}?{long}={long}", {}),
    ):
        response = probe.post(url, headers=headers, json=body)
        assert 400 <= response.status_code < 500
        problem(response)
        assert "Q" * 201 not in response.text
        assert len(response.text) < 2_000


def test_very_many_errors_are_cut(probe: TestClient, headers: Headers) -> None:
    response = probe.post(
        "/api/v1/probe/echo", headers=headers, json={f"field{n}": 1 for n in range(10_000)}
    )
    assert response.status_code == 422
    assert len(response.json()["errors"]) == 100
    assert "10000 places" in response.json()["detail"]


def test_a_database_that_is_down_is_no_wrong_key(make_app: MakeApp) -> None:
    """jobs-33: 503 and never 401, for a key that is known as for one that is not."""
    answer = call(make_app(database_url=NOWHERE), "GET", KEYS, bearer(new_key().text))
    assert answer.status == 503
    assert answer.json()["type"] == "urn:reprise:problem:unavailable"
    assert int(answer.headers["retry-after"]) >= 1
    assert "127.0.0.1" not in answer.body.decode()


def test_a_database_that_goes_away_and_comes_back(make_app: MakeApp, key: str) -> None:
    app = make_app(key_cache_seconds=0)
    database = app.state.services.database
    here, away = database.engine, make_app(database_url=NOWHERE).state.services.database.engine
    for engine, status in ((here, 200), (away, 503), (here, 200)):
        database._sessions.configure(bind=engine)
        assert call(app, "GET", KEYS, bearer(key)).status == status


def test_a_pool_that_is_used_up(make_app: MakeApp, key: str) -> None:
    app = make_app(database_pool_size=1, database_pool_timeout_seconds=0.1)
    with app.state.services.database.engine.connect():
        answer = call(app, "GET", KEYS, bearer(key))
    assert answer.status == 503
    assert "retry-after" in answer.headers
    assert call(app, "GET", KEYS, bearer(key)).status == 200


def test_a_database_whose_disk_is_full(
    client: TestClient, headers: Headers, database: Database
) -> None:
    """It still reads, and what it cannot write is said."""
    with database.transaction() as db:
        for statement in (
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION"
            " 'could not extend file' USING ERRCODE = 'disk_full'; END $$",
            "CREATE TRIGGER fail BEFORE INSERT ON api_keys EXECUTE FUNCTION fail()",
        ):
            db.execute(text(statement))
    response = client.post(KEYS, headers=headers, json={"name": "another", "scopes": ["jobs:read"]})
    assert response.status_code == 507
    assert problem(response) == "insufficient-storage"
    assert response.json()["detail"] == "The database's disk has no space left."
    assert client.get(KEYS, headers=headers).status_code == 200


def test_hosts(app: FastAPI, key: str) -> None:
    """forecast-35, dashboard-13."""
    for hosts, served in (
        (["localhost"], True),
        (["LOCALHOST:8000"], True),
        (["127.0.0.1:80"], True),
        (["[::1]:8000"], True),
        (["evil.example"], False),
        (["localhost.evil.example"], False),
        (["evil.example:localhost"], False),
        (["localhost@evil.example"], False),
        ([""], False),
        (["localhost", "localhost"], False),
    ):
        lines = [("host", host) for host in hosts]
        answer = call(app, "GET", KEYS, [*bearer(key).items(), *lines])
        assert answer.status == (200 if served else 400), hosts
        if not served:
            assert answer.json()["type"] == "urn:reprise:problem:bad-host"
            assert call(app, "GET", "/health", lines).status == 400


def test_any_host_where_that_is_the_setting(make_app: MakeApp) -> None:
    app = make_app(allowed_hosts=("*",))
    assert call(app, "GET", "/health", {"host": "any.example"}).status == 200
