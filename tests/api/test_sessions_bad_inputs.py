"""The rows of the bad-input table for sessions. Each leaves the session as it was."""

import base64
import pickle
import time
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.testclient import TestClient

from service.db.engine import Database
from service.sessions.names import LENGTH
from service.settings import Settings
from tests.api.conftest import MakeApp, MakeKey, bearer, problem
from tests.api.test_sessions import PATH, Headers, create, step

pytestmark = pytest.mark.usefixtures("models")


def refused(
    client: TestClient, headers: Headers, path: str, body: Any, status: int, kind: str, place: str
) -> None:
    """`place`: what the problem must name; empty: nothing."""
    response = client.post(path, json=body, headers=headers)
    assert (response.status_code, problem(response)) == (status, kind), response.text
    places = [fault["location"] for fault in response.json()["errors"]]
    assert place in (places or [""]), response.text


def until_gone(client: TestClient, headers: Headers, path: str) -> None:
    deadline = time.monotonic() + 30
    while (response := client.get(path, headers=headers)).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (response.status_code, problem(response)) == (410, "gone")


@pytest.mark.parametrize(
    ("body", "status", "kind", "place"),
    [
        # sessions-01
        ({"model": "demand", "task": "text-generation"}, 409, "model-task-mismatch", ""),
        ({"model": "verses", "start": "2024-01-01"}, 409, "model-task-mismatch", ""),
        ({"model": "reviews", "static_covariates": {"a": 1}}, 409, "model-task-mismatch", ""),
        ({"model": "demand", "seed": 1}, 409, "model-task-mismatch", ""),
        ({"model": "verses", "task": "dreams"}, 422, "validation-error", "body.task"),
        ({"model": "nothing"}, 404, "not-found", ""),
        ({"model": "verses:9"}, 404, "not-found", ""),
        ({"model": "Verses!"}, 422, "validation-error", "body.model"),
        ({}, 422, "validation-error", "body.model"),
        # sessions-04
        *(
            ({"model": "verses", "ttl_seconds": ttl}, 422, "validation-error", "body.ttl_seconds")
            for ttl in (0, -1, 10**12, "1h", 1.5, True)
        ),
        # sessions-30
        ({"model": "verses", "metadata": {"a": "\0"}}, 422, "validation-error", "body.metadata.a"),
        (
            {"model": "verses", "metadata": {"a": "b" * 2**20}},
            422,
            "validation-error",
            "body.metadata.a",
        ),
        (
            {"model": "verses", "metadata": {"a": {"b": {"c": 1}}}},
            422,
            "validation-error",
            "body.metadata.a",
        ),
        # sessions-35
        ({"model": "verses", "id": "mine"}, 422, "validation-error", "body.id"),
        ({"model": "demand", "static_covariates": {"a": 1}}, 422, "model-input-mismatch",
         "body.static_covariates.a"),
    ],
)  # fmt: skip
def test_a_session_that_cannot_be(
    client: TestClient, headers: Headers, body: Any, status: int, kind: str, place: str
) -> None:
    refused(client, headers, PATH, body, status, kind, place)
    assert client.get(PATH, headers=headers).json()["data"] == []


def test_metadata_that_is_nested_too_deep(client: TestClient, headers: Headers) -> None:
    """sessions-30: refused by the reader of all bodies, before anything is made of it."""
    body = '{"model": "verses", "metadata": ' + '{"a":' * 1000 + "1" + "}" * 1001
    sent = {**headers, "Content-Type": "application/json"}
    response = client.post(PATH, content=body, headers=sent)
    assert (response.status_code, problem(response)) == (400, "malformed-json")


@pytest.mark.parametrize(
    ("model", "body", "kind", "place"),
    [
        # sessions-14
        ("demand", {"values": [[1, 2]]}, "validation-error", "body.values.0"),
        ("demand", {"values": [1], "past_covariates": {"x": [1]}}, "model-input-mismatch",
         "body.past_covariates.x"),
        ("demand", {"values": [1], "horizon": 13}, "model-input-mismatch", "body.horizon"),
        ("demand", {"values": [1], "horizon": 2, "quantiles": [0.999]}, "model-input-mismatch",
         "body.quantiles.0"),
        ("demand", {"values": [None], "horizon": 2}, "model-input-mismatch", ""),
        ("demand", {"values": [1e308, -1e308] * 20, "horizon": 2}, "model-input-mismatch", ""),
        # sessions-17
        ("demand", {"values": []}, "validation-error", "body.values"),
        ("demand", {}, "validation-error", "body.values"),
        ("reviews", {}, "validation-error", "body.text"),
        ("reviews", {"text": ""}, "validation-error", "body.text"),
        ("verses", {}, "validation-error", "body.text"),
        ("verses", {"seq": 1, "temperature": 0.5}, "validation-error", "body.text"),
        # sessions-18
        ("demand", {"values": [1.0] * 101}, "validation-error", "body.values"),
        ("reviews", {"text": "a" * 201}, "validation-error", "body.text"),
        ("verses", {"text": "a" * 201}, "validation-error", "body.text"),
        ("verses", {"max_new_tokens": 51}, "validation-error", "body.max_new_tokens"),
        ("demand", {"values": [1.0], "horizon": 12, "quantiles": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]},
         "validation-error", "body.horizon"),
        # another task's
        ("demand", {"values": [1.0], "text": "a"}, "validation-error", "body.text"),
        ("reviews", {"text": "a", "top": 1}, "validation-error", "body.top"),
        ("verses", {"text": "a", "values": [1.0]}, "validation-error", "body.values"),
        ("verses", {"text": "a", "seq": 0}, "validation-error", "body.seq"),
        ("verses", {"text": "a", "seq": "1"}, "validation-error", "body.seq"),
        ("verses", {"text": "a", "state": "x"}, "validation-error", "body.state"),
    ],
)  # fmt: skip
def test_a_step_that_cannot_be(
    make_app: MakeApp, headers: Headers, model: str, body: Any, kind: str, place: str
) -> None:
    limits = {
        "max_series_points": 100,
        "max_text_chars": 200,
        "max_new_tokens": 50,
        "max_forecast_values": 80,
    }
    with TestClient(make_app(**limits), base_url="http://localhost") as client:
        path = create(client, headers, model)
        refused(client, headers, f"{path}/steps", body, 422, kind, place)
        assert client.get(path, headers=headers).json()["seq"] == 0


def test_an_answer_that_is_too_long_to_be_kept(make_app: MakeApp, headers: Headers) -> None:
    """sessions-18: said before the session goes on."""
    with TestClient(make_app(max_session_answer_bytes=1024), base_url="http://localhost") as client:
        path = create(client, headers)
        body = {"max_new_tokens": 100, "logprobs": 2}
        refused(client, headers, f"{path}/steps", body, 422, "validation-error", "")
        assert step(client, headers, path, max_new_tokens=100)["seq"] == 1


def test_the_quota_of_a_workspace(make_app: MakeApp, headers: Headers, make_key: MakeKey) -> None:
    """sessions-03: what expires or is deleted makes room."""
    with TestClient(make_app(max_sessions=2), base_url="http://localhost") as client:
        first, path = create(client, headers), create(client, headers)
        exported = client.post(f"{path}/export", headers=headers).json()["state"]
        for route, body in (
            (PATH, {"model": "verses"}),
            (f"{path}/fork", None),
            (f"{PATH}/import", {"state": exported}),
        ):
            response = client.post(route, json=body, headers=headers)
            assert (response.status_code, problem(response)) == (429, "quota-exceeded")
            assert "retry-after" in response.headers
        client.delete(first, headers=headers)
        until_gone(client, headers, create(client, headers, ttl_seconds=1))
        create(client, headers)


def test_names_that_are_no_sessions(
    client: TestClient, headers: Headers, make_key: MakeKey
) -> None:
    """sessions-05, sessions-06, sessions-36: what was never given out here is not found."""
    path = create(client, headers)
    name = path.rpartition("/")[2]
    assert len(name) == LENGTH
    other = bearer(make_key(workspace_name="other"))
    flipped = name[:-6] + ("A" if name[-6] != "A" else "B") + name[-5:]
    for sent, wrong in (
        (other, name),
        (headers, flipped),
        (headers, "ses_" + "A" * 43),
        (headers, "1"),
        (headers, "00000000-0000-4000-8000-000000000000"),
        (headers, name + "%00"),
        (headers, "%2e%2e%2f" + name),
        (headers, "%F0%9F%98%80" + name[4:]),
        (headers, "a" * 10_240),
    ):
        for method, end in (
            ("GET", ""),
            ("DELETE", ""),
            ("POST", "/steps"),
            ("POST", "/restore"),
            ("POST", "/fork"),
            ("POST", "/snapshot"),
            ("POST", "/export"),
        ):
            body = {"/steps": {"text": "a"}, "/restore": {"snapshot": 1}}.get(end)
            response = client.request(method, f"{PATH}/{wrong}{end}", json=body, headers=sent)
            assert (response.status_code, problem(response)) == (404, "not-found"), (wrong, end)
    assert client.get(path, headers=headers).json()["seq"] == 0


def test_a_model_of_another_workspace(
    client: TestClient, make_key: MakeKey, headers: Headers
) -> None:
    """sessions-02."""
    other = bearer(make_key(workspace_name="other"))
    refused(client, other, PATH, {"model": "verses"}, 404, "not-found", "")


def test_a_session_whose_time_is_over(client: TestClient, headers: Headers) -> None:
    """sessions-07: looking at it does not begin it anew."""
    path = create(client, headers, ttl_seconds=1)
    until_gone(client, headers, path)
    refused(client, headers, f"{path}/steps", {"text": "a"}, 410, "gone", "")
    assert client.get(PATH, headers=headers).json()["data"] == []


def test_what_is_remembered_of_a_session_goes_with_it(
    app: FastAPI, client: TestClient, headers: Headers
) -> None:
    """What the last step of a deleted one left stayed until newer states needed the memory."""
    path, recent = create(client, headers), app.state.services.sessions._recent
    step(client, headers, path, text="a")
    assert recent.size_bytes
    client.delete(path, headers=headers)
    assert not recent.size_bytes


def test_a_session_that_was_deleted(client: TestClient, headers: Headers) -> None:
    """sessions-08, sessions-09."""
    path = create(client, headers)
    assert client.delete(path, headers=headers).status_code == 204
    refused(client, headers, f"{path}/steps", {"text": "a"}, 410, "gone", "")
    response = client.delete(path, headers=headers)
    assert (response.status_code, problem(response)) == (404, "not-found")


def test_a_state_that_was_touched(client: TestClient, headers: Headers, make_key: MakeKey) -> None:
    """sessions-19, sessions-21."""
    path = create(client, headers)
    state = client.post(f"{path}/export", headers=headers).json()["state"]
    data = base64.b64decode(state)
    for bit in (0, 255, 256, 300, 2_000, 8 * len(data) - 1):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        body = {"state": base64.b64encode(bytes(changed)).decode()}
        refused(client, headers, f"{PATH}/import", body, 422, "state-invalid", "body.state")
    for wrong in (
        base64.b64encode(pickle.dumps({"a": 1})).decode(),
        base64.b64encode(data[:-1]).decode(),
        base64.b64encode(data[:31]).decode(),
        "no base64!",
        "é",
        state + "\n",
    ):
        body = {"state": wrong}
        refused(client, headers, f"{PATH}/import", body, 422, "state-invalid", "body.state")
    other = bearer(make_key(workspace_name="other"))
    refused(client, other, f"{PATH}/import", {"state": state}, 422, "state-invalid", "body.state")
    assert client.post(f"{PATH}/import", json={"state": state}, headers=headers).status_code == 201


def test_a_state_that_is_too_long(client: TestClient, headers: Headers, settings: Settings) -> None:
    """sessions-22."""
    body = b'{"state": "' + b"A" * settings.max_body_bytes + b'"}'
    sent = {**headers, "Content-Type": "application/json"}
    response = client.post(f"{PATH}/import", content=body, headers=sent)
    assert (response.status_code, problem(response)) == (413, "body-too-large")


def test_a_model_that_was_deleted(client: TestClient, headers: Headers, database: Database) -> None:
    """sessions-25."""
    path = create(client, headers)
    step(client, headers, path, text="the ")
    state = client.post(f"{path}/export", headers=headers).json()["state"]
    assert client.delete("/api/v1/models/verses", headers=headers).status_code == 204
    refused(client, headers, f"{path}/steps", {"text": "a"}, 409, "conflict", "")
    refused(client, headers, f"{PATH}/import", {"state": state}, 409, "conflict", "")
    assert client.delete(path, headers=headers).status_code == 204


def test_lists_with_a_bad_cursor(client: TestClient, headers: Headers, make_key: MakeKey) -> None:
    """sessions-31."""
    name = create(client, headers).rpartition("/")[2]
    other = bearer(make_key(workspace_name="other"))
    for sent, query in (
        (headers, "after=x"),
        (headers, "after="),
        (headers, "after=01890000-0000-7000-8000-000000000000"),
        (other, f"after={name}"),
        (headers, "limit=0"),
        (headers, "limit=201"),
        (headers, "page=2"),
    ):
        response = client.get(f"{PATH}?{query}", headers=sent)
        assert (response.status_code, problem(response)) == (422, "validation-error"), query


def test_another_content_type(client: TestClient, headers: Headers) -> None:
    """sessions-40."""
    path = create(client, headers)
    sent = {**headers, "Content-Type": "text/plain"}
    for route in (PATH, f"{path}/steps", f"{path}/restore", f"{PATH}/import"):
        response = client.post(route, content=b"{}", headers=sent)
        assert (response.status_code, problem(response)) == (415, "unsupported-media-type")


def test_without_redis(make_app: MakeApp, headers: Headers, client: TestClient) -> None:
    """503, and everything else goes on."""
    path = create(client, headers)
    away = SecretStr("unix:///nowhere/redis.sock")
    with TestClient(make_app(redis_url=away), base_url="http://localhost") as lonely:
        for response in (
            lonely.post(PATH, json={"model": "verses"}, headers=headers),
            lonely.get(PATH, headers=headers),
            lonely.get(path, headers=headers),
            lonely.post(f"{path}/steps", json={"text": "a"}, headers=headers),
            lonely.delete(path, headers=headers),
        ):
            assert (response.status_code, problem(response)) == (503, "unavailable")
            assert "retry-after" in response.headers
        body = {"model": "reviews", "text": "a lovely film"}
        assert lonely.post("/api/v1/sentiment", json=body, headers=headers).status_code == 200
    assert step(client, headers, path, text="a")["seq"] == 1
