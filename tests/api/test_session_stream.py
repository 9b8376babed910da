"""Steps over a WebSocket."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from service.auth.subjects import Scope
from tests.api.conftest import MakeApp, MakeKey, bearer, problem
from tests.api.test_sessions import Headers, create, step

pytestmark = pytest.mark.usefixtures("models")


def connect(client: TestClient, path: str, **headers: str) -> WebSocketTestSession:
    return client.websocket_connect(f"ws://localhost{path}/stream", headers=headers)


def kind(message: Any) -> str:
    return str(message["type"]).removeprefix("urn:reprise:problem:")


def closed(socket: WebSocketTestSession) -> int:
    with pytest.raises(WebSocketDisconnect) as caught:
        socket.receive_text()
    return caught.value.code


def test_steps_over_a_socket_are_those_over_http(client: TestClient, headers: Headers) -> None:
    path, other = create(client, headers, seed=1), create(client, headers, seed=1)
    steps: list[dict[str, Any]] = [
        {"seq": 1, "text": "the qu"},
        {"seq": 2, "text": "ick ", "max_new_tokens": 9, "temperature": 2.0},
        {"seq": 2, "text": "ick ", "max_new_tokens": 9, "temperature": 2.0},
        {"top": 3},
    ]
    with connect(client, path, **headers) as socket:
        assert socket.receive_json()["seq"] == 0
        for body in steps:
            socket.send_json(body)
            answer = socket.receive_json()
            expected = step(client, headers, other, **body)
            for name in ("seq", "model", "result"):
                assert answer[name] == expected[name]
    assert client.get(path, headers=headers).json()["seq"] == 3


def test_the_key_in_the_first_message(client: TestClient, headers: Headers, key: str) -> None:
    path = create(client, headers)
    with connect(client, path, origin="http://localhost") as socket:
        socket.send_json({"key": key})
        assert socket.receive_json()["id"] == path.rpartition("/")[2]
        socket.send_json({"text": "a"})
        assert socket.receive_json()["seq"] == 1


def test_without_a_key(
    client: TestClient, headers: Headers, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sessions-32, and keys that are wrong, of another workspace or for something else."""
    path = create(client, headers)
    for name in ("nothing", "rp_wrong"):
        with pytest.raises(WebSocketDenialResponse) as denied:
            connect(client, path, Authorization=f"Bearer {name}").__enter__()
        assert (denied.value.status_code, problem(denied.value)) == (401, "unauthenticated")
        assert denied.value.headers["x-frame-options"] == "DENY"
    other, reading = make_key(workspace_name="other"), make_key([Scope.MODELS_READ])
    for first, expected in (
        ({"text": "a"}, "unauthenticated"),
        ({"key": "rp_wrong"}, "unauthenticated"),
        ({"key": 1}, "unauthenticated"),
        ([], "unauthenticated"),
        ({"key": other}, "not-found"),
        ({"key": reading}, "forbidden"),
    ):
        with connect(client, path) as socket:
            socket.send_json(first)
            assert kind(socket.receive_json()) == expected
            assert closed(socket) == 1008
    monkeypatch.setattr("service.api.session_stream.KEY_SECONDS", 0.01)
    with connect(client, path) as socket:
        assert kind(socket.receive_json()) == "unauthenticated"
        assert closed(socket) == 1008


def test_wrong_keys_count_as_those_of_requests(
    make_app: MakeApp, headers: Headers, key: str
) -> None:
    app = make_app(failed_logins_per_minute=5)
    with TestClient(app, base_url="http://localhost") as client:
        path = create(client, headers)
        assert client.get(path, headers=bearer("rp_x")).status_code == 401
        for expected in (401, 401, 429):
            with pytest.raises(WebSocketDenialResponse) as denied:
                connect(client, path, **bearer("rp_x")).__enter__()
            if expected == 429:
                assert problem(denied.value) == "rate-limited"
                assert int(denied.value.headers["retry-after"]) >= 1
            assert denied.value.status_code == expected
            with connect(client, path) as socket:
                socket.send_json({"key": "rp_x"})
                kinds = {401: "unauthenticated", 429: "rate-limited"}
                assert kind(socket.receive_json()) == kinds[expected]
                assert closed(socket) == 1008
        with connect(client, path) as socket:
            socket.send_json({"text": "no key is no guess"})
            assert kind(socket.receive_json()) == "unauthenticated"
        with connect(client, path, **headers) as socket:
            assert socket.receive_json()["seq"] == 0


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:9", "null", ""])
def test_a_page_of_another_host(client: TestClient, headers: Headers, origin: str) -> None:
    """sessions-32."""
    path = create(client, headers)
    with pytest.raises(WebSocketDenialResponse) as denied:
        connect(client, path, origin=origin, **headers).__enter__()
    assert (denied.value.status_code, problem(denied.value)) == (403, "forbidden")


def test_a_host_that_is_not_served(client: TestClient, headers: Headers) -> None:
    path = create(client, headers)
    with pytest.raises(WebSocketDenialResponse) as denied:
        client.websocket_connect(f"ws://evil.example{path}/stream", headers=headers).__enter__()
    assert (denied.value.status_code, problem(denied.value)) == (400, "bad-host")


def test_a_message_that_cannot_be_is_answered_and_the_next_one_counts(
    client: TestClient, headers: Headers
) -> None:
    path = create(client, headers)
    with connect(client, path, **headers) as socket:
        socket.receive_json()
        for message, expected in (
            ("{", "malformed-json"),
            ('{"text": NaN}', "malformed-json"),
            ("[]", "validation-error"),
            ('{"text": "a", "seq": 7}', "conflict"),
            ('{"text": "\\u0000"}', "validation-error"),
            ('{"values": [1]}', "validation-error"),
            ("{}", "validation-error"),
        ):
            socket.send_text(message)
            assert kind(socket.receive_json()) == expected
        socket.send_bytes(b'{"text": "a"}')
        assert kind(socket.receive_json()) == "malformed-json"
        socket.send_json({"text": "a", "id": 1})
        assert [fault["location"] for fault in socket.receive_json()["errors"]] == ["body.id"]
        socket.send_json({"text": "a"})
        assert socket.receive_json()["seq"] == 1


def test_an_end_of_the_session_or_of_the_key_ends_the_socket(
    client: TestClient, headers: Headers, make_key: MakeKey
) -> None:
    path = create(client, headers)
    with connect(client, path, **headers) as socket:
        socket.receive_json()
        client.delete(path, headers=headers)
        socket.send_json({"text": "a"})
        assert kind(socket.receive_json()) == "gone"
        assert closed(socket) == 1008
    path, mortal = create(client, headers), make_key()
    with connect(client, path, **bearer(mortal)) as socket:
        socket.receive_json()
        (made,) = [
            each["id"]
            for each in client.get("/api/v1/keys", headers=headers).json()["data"]
            if mortal.startswith(f"rp_{each['public_id']}")
        ]
        client.delete(f"/api/v1/keys/{made}", headers=headers)
        socket.send_json({"text": "a"})
        assert kind(socket.receive_json()) == "unauthenticated"
        assert closed(socket) == 1008


def test_limits_of_a_socket(make_app: MakeApp, headers: Headers) -> None:
    """sessions-34 for messages: as many as requests, and as long as bodies."""
    limits = {"max_body_bytes": 1024, "requests_per_minute": 5}
    with TestClient(make_app(**limits), base_url="http://localhost") as client:
        path = create(client, headers)
        with connect(client, path, **headers) as socket:
            socket.receive_json()
            socket.send_text(json.dumps({"text": "a" * 1024}))
            assert kind(socket.receive_json()) == "body-too-large"
            assert closed(socket) == 1008
        with connect(client, path, **headers) as socket:
            socket.receive_json()
            for _ in range(4):
                socket.send_json({"text": "a"})
                last = socket.receive_json()
            assert kind(last) == "rate-limited"


def test_a_socket_that_is_not_used_is_closed(make_app: MakeApp, headers: Headers) -> None:
    app = make_app(session_idle_seconds=0.05)
    with (
        TestClient(app, base_url="http://localhost") as client,
        connect(client, create(client, headers), **headers) as socket,
    ):
        socket.receive_json()
        assert closed(socket) == 1000
