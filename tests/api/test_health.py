"""The two routes that need no key."""

import time
from importlib.metadata import version

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from rnn.kernels import library
from tests.api.asgi import call
from tests.api.conftest import MakeApp


def test_health_is_local(make_app: MakeApp) -> None:
    """It answers while everything else is away: restarting this process would not help."""
    app = make_app(
        database_url=SecretStr("postgresql+psycopg://nobody@127.0.0.1:1/nothing"),
        redis_url=SecretStr("redis://127.0.0.1:1/0"),
    )
    answer = call(app, "GET", "/health")
    assert answer.status == 200
    kernels = library.status()
    assert answer.json() == {
        "status": "ok", "version": version("reprise"),
        "kernels": {"level": kernels.level, "reason": kernels.reason}, "device": None,
    }  # fmt: skip
    ready = call(app, "GET", "/ready")
    assert ready.status == 503
    assert int(ready.headers["retry-after"]) >= 1
    assert ready.json() == {
        "status": "unavailable", "database": "down", "engine": "starting", "redis": "down",
    }  # fmt: skip


def test_health_names_the_kernels_of_the_settings(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "_selected", None)  # and afterwards what was
    with TestClient(make_app(kernels="off"), base_url="http://localhost") as client:
        assert client.get("/health").json()["kernels"] == {
            "level": "torch", "reason": "the kernels are switched off",
        }  # fmt: skip


def test_ready_once_the_engine_is(client: TestClient) -> None:
    deadline = time.monotonic() + 60
    while (response := client.get("/ready")).status_code != 200:
        assert response.json()["engine"] == "starting"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert response.status_code == 200
    assert response.json() == {
        "status": "ready", "database": "up", "engine": "up", "redis": "up",
    }  # fmt: skip
    assert client.get("/health").json()["device"] == "cpu"


def test_redis_is_not_needed_to_be_ready(make_app: MakeApp) -> None:
    app = make_app(redis_url=SecretStr("redis://127.0.0.1:1/0"))
    app.state.services.engine.ready = True
    answer = call(app, "GET", "/ready")
    assert (answer.status, answer.json()["redis"]) == (200, "down")


def test_load_balancers_may_ask_with_head(client: TestClient) -> None:
    response = client.head("/health")
    assert (response.status_code, response.content) == (200, b"")
