"""Calls an application without a client that tidies the request up first."""

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from fastapi import FastAPI


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    chunks_read: int = 0

    def json(self) -> Any:
        return json.loads(self.body)


def call(
    app: FastAPI,
    method: str,
    path: str,
    headers: Iterable[tuple[str, str]] | dict[str, str] = (),
    body: Iterable[bytes] = (),
) -> Answer:
    """One request, its path and headers exactly as given, its body chunk by chunk."""
    return asyncio.run(_call(app, method, path, headers, iter(body)))


async def _call(
    app: FastAPI,
    method: str,
    path: str,
    headers: Iterable[tuple[str, str]] | dict[str, str],
    chunks: Iterator[bytes],
) -> Answer:
    answer = Answer()
    lines = list(headers.items() if isinstance(headers, dict) else headers)
    if not any(name.lower() == "host" for name, _ in lines):
        lines.append(("host", "localhost"))

    async def receive() -> dict[str, Any]:
        try:
            chunk = next(chunks)
        except StopIteration:
            return {"type": "http.request", "body": b"", "more_body": False}
        answer.chunks_read += 1
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert answer.status == 0
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    bare, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(bare),
        "raw_path": bare.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1"))
                    for name, value in lines],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await app(scope, receive, send)  # type: ignore[arg-type]
    return answer
