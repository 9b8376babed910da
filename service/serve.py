"""The API process: `python -m service.serve`, configured by `REPRISE_*`.

`--socket FD` serves on a socket that the parent already listens on. `--after FD` imports
everything, then waits until the parent closes the other end of that pipe: a start overlaps the
imports (torch takes a second) with the start of the database.
"""

import argparse
import gc
import os
import signal
import socket
import sys
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from service.api.deps import Services
from service.app import create_app
from service.settings import Settings
from service.telemetry import configure_logging

GRACE_SECONDS = 5  # for answers in flight
BACKLOG = 2048
# Longer than clients (httpx: 5) and proxies (nginx: 60) keep an idle connection: whoever closes it
# while the other one asks something answers with a reset, and only the asking side can avoid that.
KEEP_ALIVE_SECONDS = 75
PING_SECONDS = 20  # between pings of a WebSocket, and for the answer to one before it is closed


class Server(uvicorn.Server):
    """Lets followers of events go at the first signal, who would use up the grace otherwise."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._services.news.close()
        super().handle_exit(sig, frame)


def configuration(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # what a caller says of its own address is not believed
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m service.serve", description=__doc__)
    parser.add_argument("--socket", type=int, metavar="FD")
    parser.add_argument("--after", type=int, metavar="FD")
    chosen = parser.parse_args(arguments)
    if chosen.after is not None:
        os.read(chosen.after, 1)
        os.close(chosen.after)

    settings = Settings()
    configure_logging(settings.log_level)
    app = create_app(settings)
    gc.freeze()  # what is there stays: to look through it holds up all requests for 150 ms
    given = None
    if chosen.socket is not None:
        given = [socket.socket(fileno=chosen.socket)]
    server = Server(configuration(app, settings), app.state.services)
    # uvicorn raises the signal again after an orderly shutdown; this is not an end by a signal.
    signal.signal(signal.SIGTERM, server.handle_exit)
    signal.signal(signal.SIGINT, server.handle_exit)
    try:
        server.run(sockets=given)
    finally:
        if app.state.refusal is not None:
            sys.exit(app.state.refusal)
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
