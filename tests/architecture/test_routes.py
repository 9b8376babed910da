"""Every route is closed unless it is on the list, and says which scopes it needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import APIWebSocketRoute, RouteContext, iter_route_contexts
from pydantic import SecretStr

from service.api.routing import StrictRoute
from service.app import create_app
from service.auth.subjects import Scope
from service.settings import Settings
from tests.api.asgi import call

OPEN = {
    ("GET", "/health"),
    ("HEAD", "/health"),
    ("GET", "/ready"),
    ("HEAD", "/ready"),
    ("GET", "/sign-in"),
}
STATIC = "/static/"  # the dashboard's style and scripts, which hold nothing of anybody
SIGN_INS = {"/api/v1/browser-sessions", "/api/v1/browser-sessions/current"}
ANY_KEY = {"/openapi.json", *SIGN_INS}
# They check the key themselves: it may come in the first message.
SOCKETS = {"/api/v1/sessions/{session_id}/stream"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW")
READING = {Scope.DATASETS_READ, Scope.JOBS_READ, Scope.MODELS_READ}
# Routes that change nothing although their method could.
HARMLESS_POSTS = {"/api/v1/jobs/estimate", *SIGN_INS}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """Composed and not started: there is no server at these addresses, and none is needed."""
    folder: Path = tmp_path_factory.mktemp("routes")
    return create_app(
        Settings(
            database_url=SecretStr("postgresql+psycopg://nobody@127.0.0.1:1/nothing"),
            redis_url=SecretStr("redis://127.0.0.1:1/0"),
            artifact_dir=folder,
        )
    )


def routes(app: FastAPI) -> Iterator[RouteContext]:
    """All of them: included ones with their full paths, mounts and plain routes too."""
    yield from iter_route_contexts(app.routes)


def test_there_are_routes_to_look_at(app: FastAPI) -> None:
    paths = {route.path for route in routes(app)}
    assert {"/health", "/ready", "/openapi.json", "/api/v1/keys", "/api/v1/keys/{key_id}"} <= paths


def test_without_a_key_only_the_list_answers(app: FastAPI) -> None:
    """bad_inputs keys-26."""
    open_ones = set()
    for path in sorted({str(route.path) for route in routes(app)}):
        for spelled in {path, path.replace("{", "").replace("}", ""), f"{path}/below"}:
            for method in METHODS:
                answer = call(app, method, spelled)
                if method == "GET" and spelled.startswith(STATIC):
                    assert answer.status == 404
                elif answer.status != 401:
                    open_ones.add((method, spelled))
                else:
                    assert answer.json()["type"] == "urn:reprise:problem:unauthenticated"
                    assert "www-authenticate" in answer.headers
    assert open_ones == OPEN


def test_every_other_route_is_strict_and_declares_its_scopes(app: FastAPI) -> None:
    for context in routes(app):
        if context.path in {path for _, path in OPEN} or context.path.startswith(STATIC):
            continue
        route = context.original_route
        if context.path in SOCKETS:
            assert isinstance(route, APIWebSocketRoute)
            continue
        assert isinstance(route, StrictRoute), context.path
        assert bool(route.required_scopes) == (context.path not in ANY_KEY), context.path


def test_a_key_that_may_only_read_changes_nothing(app: FastAPI) -> None:
    """bad_inputs keys-39."""
    for context in routes(app):
        route = context.original_route
        if not isinstance(route, StrictRoute) or route.methods <= {"GET"}:
            continue
        if context.path not in HARMLESS_POSTS:
            assert route.required_scopes - READING, context.path


def test_a_route_that_requires_nothing_cannot_be_declared() -> None:
    with pytest.raises(TypeError, match="does not say what it requires"):
        StrictRoute("/x", lambda: None)
