"""Who is let in: bad_inputs families keys and forecast, where they are about the door."""

import io
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import FastAPI
from sqlalchemy import event, update
from starlette.testclient import TestClient

from service.auth.keys import PlainKey, parse
from service.auth.subjects import ALL_SCOPES, Scope
from service.db.engine import Database
from service.db.tables import ApiKey
from service.telemetry import configure_logging
from tests.api.asgi import call
from tests.api.conftest import MakeApp, MakeKey, bearer, problem

KEYS = "/api/v1/keys"


def same_but(key: str, **parts: str) -> str:
    """A key with another id or secret, and the checksum that fits."""
    found = parse(key)
    assert found is not None
    changed: dict[str, Any] = {"public_id": found.public_id, "secret": found.secret, **parts}
    return PlainKey(**changed).text


@contextmanager
def counted_queries(app: FastAPI) -> Iterator[list[str]]:
    statements: list[str] = []
    engine = app.state.services.database.engine

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_a_right_key_is_let_in(client: TestClient, key: str) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert client.get(KEYS, headers={"Authorization": f"{scheme} {key}"}).status_code == 200


def test_other_forms_of_a_header_are_refused(client: TestClient, key: str) -> None:
    """keys-01, keys-07."""
    for form in (
        None, "", "Bearer", "Bearer ", "Basic {key}", "Token {key}", "{key}", "Bearer {key} {key}",
        "Bearer {key},", "Bearer \u00e9", 'Bearer "{key}"',
    ):  # fmt: skip
        headers = {} if form is None else {"Authorization": form.format(key=key).encode("latin-1")}
        response = client.get(KEYS, headers=headers)
        assert response.status_code == 401, form
        assert problem(response) == "unauthenticated"
        assert response.headers["www-authenticate"].startswith("Bearer ")


def test_two_authorization_headers_are_refused(client: TestClient, key: str) -> None:
    line = ("Authorization", f"Bearer {key}")
    assert client.get(KEYS, headers=[line, line]).status_code == 401


def test_a_key_anywhere_else_is_not_read(client: TestClient, key: str) -> None:
    """keys-05, forecast-30."""
    for name in ("key", "api_key", "token", "access_token", "authorization"):
        assert client.get(KEYS, params={name: key}).status_code == 401
        assert client.get(KEYS, headers={"Cookie": f"{name}={key}"}).status_code == 401
        assert client.post(KEYS, json={name: key}).status_code == 401
        assert client.get(KEYS, headers={"X-API-Key": key}).status_code == 401


def test_no_other_header_opens_the_door(client: TestClient) -> None:
    """keys-29, keys-30."""
    for headers in (
        {"User-Agent": "Mozilla/5.0"},
        {"User-Agent": ""},
        {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1"},
        {"X-Forwarded-User": "admin", "X-Remote-User": "admin"},
        {"Origin": "http://localhost"},
        {"X-HTTP-Method-Override": "GET"},
        {"X-Original-URL": "/health", "X-Rewrite-URL": "/health"},
    ):
        assert client.get(KEYS, headers=headers).status_code == 401, headers


def test_no_spelling_of_a_path_opens_the_door(app: FastAPI) -> None:
    for path in (
        "/health/",
        "//health",
        "/health/../api/v1/keys",
        "/health;/api/v1/keys",
        "/health%2f..%2fapi%2fv1%2fkeys",
        "/HEALTH",
        "/health%00",
        "/health%0a",
        "/api/v1/keys/../../../health",
        "/api/v1/keys#/health",
        "/api/v1/keys?/health",
        "",
        "/",
        "*",
        "http://localhost/health",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/api/v1/keys/%2e%2e%2f",
        "/\u202ehtlaeh",
    ):
        assert call(app, "GET", path).status == 401, path


def test_a_wrong_method_on_an_open_path_is_closed(client: TestClient) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"):
        assert client.request(method, "/health").status_code == 401


def test_malformed_keys_are_refused_without_a_query(
    app: FastAPI, client: TestClient, key: str
) -> None:
    """keys-02."""
    wrong = [key[:-1] + ("A" if key[-1] != "A" else "B"), "sk" + key[2:], key.upper(), "rp_"]
    with counted_queries(app) as statements:
        for text in wrong:
            assert client.get(KEYS, headers=bearer(text)).status_code == 401
    assert statements == []


def test_an_unknown_id_and_a_wrong_secret_are_told_apart_by_nothing(
    app: FastAPI, client: TestClient, key: str
) -> None:
    """keys-03: the same answer after the same queries."""
    seen = []
    for text in (same_but(key, public_id="0" * 16), same_but(key, secret="0" * 43)):
        with counted_queries(app) as statements:
            response = client.get(KEYS, headers=bearer(text))
        body = response.json()
        del body["request_id"]
        headers = {name: response.headers[name] for name in response.headers if name[0] != "x"}
        seen.append((response.status_code, body, headers, list(statements)))
    assert seen[0][0] == 401
    assert seen[0] == seen[1]


def test_an_expired_key_is_refused(database: Database, client: TestClient, key: str) -> None:
    """keys-08."""
    with database.transaction() as db:
        db.execute(update(ApiKey).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert client.get(KEYS, headers=bearer(key)).status_code == 401


def test_a_key_ends_while_it_is_remembered(client: TestClient, make_key: MakeKey) -> None:
    key = make_key(expires_at=datetime.now(UTC) + timedelta(seconds=0.6))
    assert client.get(KEYS, headers=bearer(key)).status_code == 200
    time.sleep(0.7)
    assert client.get(KEYS, headers=bearer(key)).status_code == 401


def test_a_key_is_refused_before_its_time(client: TestClient, make_key: MakeKey) -> None:
    """keys-09."""
    key = make_key(not_before=datetime.now(UTC) + timedelta(hours=1))
    assert client.get(KEYS, headers=bearer(key)).status_code == 401


def test_a_revocation_by_another_process_is_noticed_in_time(
    make_app: MakeApp, client: TestClient, key: str
) -> None:
    with TestClient(make_app(key_cache_seconds=0.3), base_url="http://localhost") as other:
        assert other.get(KEYS, headers=bearer(key)).status_code == 200
        spare = client.post(KEYS, headers=bearer(key), json={"name": "a", "scopes": ["keys:admin"]})
        assert spare.status_code == 201
        (first,) = [
            each["id"]
            for each in client.get(KEYS, headers=bearer(key)).json()["data"]
            if each["id"] != spare.json()["id"]
        ]
        assert client.delete(f"{KEYS}/{first}", headers=bearer(key)).status_code == 204
        time.sleep(0.35)
        assert other.get(KEYS, headers=bearer(key)).status_code == 401


def test_a_key_without_the_scope_is_refused(client: TestClient, make_key: MakeKey) -> None:
    """forecast-29, keys-39."""
    headers = bearer(make_key(ALL_SCOPES - {Scope.KEYS_ADMIN}))
    for method, path in (("GET", KEYS), ("POST", KEYS), ("DELETE", f"{KEYS}/{'0' * 32}")):
        response = client.request(method, path, headers=headers)
        assert response.status_code == 403
        assert problem(response) == "forbidden"
        assert "keys:admin" in response.json()["detail"]


def test_the_scope_is_checked_before_the_body(client: TestClient, make_key: MakeKey) -> None:
    headers = {**bearer(make_key({Scope.PREDICT})), "Content-Type": "application/json"}
    assert client.post(KEYS, headers=headers, content=b"{nonsense").status_code == 403


def test_wrong_keys_are_counted_by_address(make_app: MakeApp, key: str) -> None:
    """keys-31. A right key still passes: behind a proxy all callers have one address."""
    app = make_app(failed_logins_per_minute=5)
    with TestClient(app, base_url="http://localhost") as client:
        answers = [
            client.get(KEYS, headers={**bearer("rp_x"), "X-Forwarded-For": f"10.0.0.{number}"})
            for number in range(8)
        ]
        statuses = [each.status_code for each in answers]
        assert (statuses[:5], statuses[-1]) == ([401] * 5, 429)
        assert problem(answers[-1]) == "rate-limited"
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert client.get(KEYS, headers=bearer(key)).status_code == 200
        assert client.get(KEYS).status_code == 401  # no key is no guess


def test_no_origin_is_given_access(client: TestClient, key: str) -> None:
    """keys-37, keys-38, sentiment-38."""
    evil = {"Origin": "https://evil.example", "Cookie": "a=b"}
    preflight = {**evil, "Access-Control-Request-Method": "DELETE",
                 "Access-Control-Request-Headers": "authorization"}  # fmt: skip
    answers = [
        client.get(KEYS, headers={**evil, **bearer(key)}),
        client.options(KEYS, headers=preflight),
        client.options(KEYS, headers={**preflight, **bearer(key)}),
        client.get("/health", headers=evil),
    ]
    assert [each.status_code for each in answers] == [200, 401, 405, 200]
    for each in answers:
        assert not [name for name in each.headers if name.startswith("access-control-")]


def test_the_body_is_not_read_before_the_key(app: FastAPI) -> None:
    headers = {"content-type": "application/json", "content-length": "1000"}
    answer = call(app, "POST", KEYS, headers, [b"{" * 500] * 2)
    assert (answer.status, answer.chunks_read) == (401, 0)


def test_no_secret_reaches_the_log(client: TestClient, key: str) -> None:
    """keys-34: wherever a caller puts a key, right or wrong."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("DEBUG", stream)
    try:
        for text in (key, key[:-1], same_but(key, secret="Z" * 43)):
            client.get(KEYS, headers=bearer(text))
            client.get(KEYS, params={"key": text})
            client.get(f"/api/v1/{text}", headers=bearer(key))
            client.get(f"{KEYS}/{text}", headers={**bearer(key), "X-Request-Id": text})
            client.post(KEYS, headers=bearer(key), json={"name": text, "scopes": [text]})
        made = client.post(KEYS, headers=bearer(key), json={"name": "a", "scopes": ["predict"]})
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.getLogger("uvicorn.access").disabled = False
    output = stream.getvalue()
    assert '"path":"/api/v1/keys"' in output
    for secret in (key, made.json()["key"]):
        assert secret.split("_")[2][:20] not in output
    assert "ZZZZ" not in output
