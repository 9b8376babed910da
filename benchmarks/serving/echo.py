"""A server that does nothing, to see what the load generator itself can do.

    .venv/bin/python -m benchmarks.serving.echo PORT

Every answer is the same small JSON, or at `/stream` as many events as a stream has tokens.
"""

import asyncio
import sys
from typing import cast

import httptools
import uvloop

BODY = b'{"label": "positive", "score": 0.5}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"token": 101, "text": "e"}\n\n'
EVENTS = 200


class _Echo(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._stream = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._stream = url == b"/stream"

    def on_message_complete(self) -> None:
        assert self._transport is not None
        if self._stream:
            self._transport.write(STREAM)
            self._event(EVENTS)
        else:
            self._transport.write(ANSWER % (len(BODY), BODY))

    def _event(self, left: int) -> None:
        """One event in each round of the loop, as tokens come."""
        if self._transport is None:
            return
        if left:
            self._transport.write(b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
            asyncio.get_running_loop().call_soon(self._event, left - 1)
        else:
            self._transport.write(b"0\r\n\r\n")


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))
