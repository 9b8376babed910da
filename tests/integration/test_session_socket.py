"""A session's WebSocket through a real server."""

import json
import socket
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from service import serve
from service.auth.store import create_key, ensure_workspace
from service.auth.subjects import Scope
from service.db.engine import Database
from service.settings import Settings
from tests.integration.test_engine_http import serving


def test_refused_handshakes_and_many_pings(settings: Settings, database: Database) -> None:
    """sessions-32, sessions-34: pings are answered between messages and change nothing."""
    with database.transaction() as db:
        _, key = create_key(db, ensure_workspace(db, "default").id, "test", [Scope.PREDICT])
    with serving(settings) as (address, _):
        url = address.replace("http://", "ws://") + "/sessions/nothing/stream"
        for headers, status in (
            ({"Authorization": "Bearer rp_wrong"}, 401),
            ({"Authorization": f"Bearer {key}", "Origin": "http://evil.example"}, 403),
        ):
            with pytest.raises(InvalidStatus) as refused:
                connect(url, additional_headers=headers)
            assert refused.value.response.status_code == status
            assert json.loads(refused.value.response.body)["status"] == status
        with connect(url) as socket:
            for number in range(2_000):
                pong = socket.ping(str(number))
            assert pong.wait(30)
            socket.send(json.dumps({"key": key}))
            assert json.loads(socket.recv())["status"] == 404


def test_who_answers_no_ping_is_closed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """sessions-34: within twice PING_SECONDS, which is less than a minute."""
    assert 2 * serve.PING_SECONDS <= 60
    monkeypatch.setattr(serve, "PING_SECONDS", 1.0)
    with serving(settings) as (address, _):
        parts = urlsplit(address)
        path = f"{parts.path}/sessions/nothing/stream"
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ]
        with (
            connect(f"ws://{parts.netloc}{path}") as answering,
            socket.create_connection((str(parts.hostname), int(parts.port or 0))) as silent,
        ):
            silent.settimeout(30)
            silent.sendall("\r\n".join([*lines, "", ""]).encode())
            received = b""
            while part := silent.recv(4096):
                received += part
            assert received.endswith(b"keepalive ping timeout")
            with pytest.raises(TimeoutError):
                answering.recv(timeout=0.5)
