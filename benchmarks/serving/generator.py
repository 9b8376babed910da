"""The load generator against a server that does nothing: above what it shows, it is itself what is
measured."""

import subprocess
import sys
import time

import httpx

from benchmarks.serving.bench import Bench, Cell, Table
from benchmarks.serving.candidates import PEER_MARKER, Endpoint, free_port
from benchmarks.serving.echo import EVENTS
from benchmarks.serving.load import ROOT
from benchmarks.serving.rows import Row
from benchmarks.serving.watch import pinned

ECHO = "a server that does nothing"
CONNECTIONS = 64


def generator(bench: Bench) -> list[Row]:
    """Answers in one piece, then streams."""
    table = Table()
    bodies = [{"text": "a sentence of some words , as they come ."}]
    with pinned(bench.server_cores):
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.serving.echo", str(port)]
        process = subprocess.Popen(command, cwd=ROOT)
    try:
        for path, tokens in (("/answer", 0), ("/stream", EVENTS)):
            endpoint = Endpoint("127.0.0.1", port, path, PEER_MARKER, process.pid)
            _wait(endpoint)
            work = f"{CONNECTIONS} {'streams' if tokens else 'clients'}"
            cell = Cell(work, CONNECTIONS, bodies, bodies, tokens=tokens)
            for _ in range(bench.repeats):
                result = cell.measured(bench, endpoint, own=False)
                table.add(work, ECHO, cell.figures(result))
    finally:
        process.kill()
        process.wait()
    bench.load = 0.0  # here it shall be busy
    return table.rows()


def _wait(endpoint: Endpoint) -> None:
    for _ in range(100):
        try:
            endpoint.ask({})
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"{endpoint.url} does not answer")
