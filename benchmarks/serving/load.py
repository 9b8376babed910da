"""The load generator, a process of its own: keeps N connections busy, each with one request after
the other, and says what came back when.

    .venv/bin/python -m benchmarks.serving.load < asked.json

`Asked` is what standard input holds, `Result` what standard output gets, both as JSON.
"""

import asyncio
import itertools
import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import httptools
import uvloop

ROOT = Path(__file__).resolve().parents[2]
AFTER_AN_ERROR_SECONDS = 0.01
DRAIN_SECONDS = 60.0  # for answers in flight when the time is up; they do not count
LONGEST = 12  # times as long as asked, for cells in which too little was answered


@dataclass(frozen=True)
class Asked:
    """What is to be sent.

    Attributes:
        bodies: JSON texts; connection i of n sends those numbered i, i + n, ... and begins again.
        warm_up_seconds, seconds: before what counts, and what counts.
        least: answers that must be there before it ends, unless it takes `LONGEST` times as long.
        marker: what a stream's event holds once for each token; empty: no stream.
        tokens: markers that a whole stream has.
        cores: that this process may use; empty: all.
    """

    host: str
    port: int
    path: str
    headers: dict[str, str]
    bodies: list[str]
    connections: int
    warm_up_seconds: float
    seconds: float
    least: int = 1
    marker: str = ""
    tokens: int = 0
    cores: tuple[int, ...] = ()


@dataclass(frozen=True)
class Times:
    """Milliseconds."""

    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Times | None":
        if not seconds:
            return None
        ordered = sorted(seconds)
        return cls(1e3 * percentile(ordered, 0.5), 1e3 * percentile(ordered, 0.99))


@dataclass(frozen=True)
class Result:
    """What was answered while it counted.

    Attributes:
        seconds: how long it counted.
        answered: whole answers with status 200, or whole streams.
        errors: other answers by status, streams that ended "short", connections "lost".
        latency: from the request to the end of its answer.
        tokens: markers that arrived.
        first: from the request to the first token.
        gap: between two arrivals of a stream; tokens that arrive together count once.
        cores: of processor time that the generator itself took.
        all_answered, all_tokens: also while it warmed up and ended.
        others: cores that processes which are not ours took.
        server: processor seconds of the server, for all of these.
    """

    seconds: float
    answered: int
    errors: dict[str, int]
    latency: Times | None
    tokens: int
    first: Times | None
    gap: Times | None
    cores: float
    all_answered: int
    all_tokens: int
    others: float = 0.0
    server: float = 0.0


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def fire(asked: Asked) -> Result:
    """In a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving.load"],
        input=json.dumps(asdict(asked)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
    )
    values = json.loads(done.stdout)
    for name in ("latency", "first", "gap"):
        values[name] = None if values[name] is None else Times(**values[name])
    return Result(**values)


@dataclass
class _Counted:
    """What is told while it counts."""

    latencies: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    tokens: int = 0
    errors: Counter[str] = field(default_factory=Counter)


class _Load:
    """All connections and what they told. Counting begins and ends with them all."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.marker = asked.marker.encode()
        self.counted = _Counted()
        self.all_answered = self.all_tokens = 0
        self.over = False
        self._begins = time.perf_counter() + asked.warm_up_seconds
        self._processor = 0.0
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[tuple[float, float]] = self._loop.create_future()
        self._open: set[_Connection] = set()

    async def run(self) -> Result:
        for number in range(self.asked.connections):
            bodies = self.asked.bodies[number :: self.asked.connections] or self.asked.bodies
            self._connect(itertools.cycle([request(self.asked, body) for body in bodies]))
        self._loop.call_at(self._loop.time() + self.asked.warm_up_seconds, self._begin)
        limit = self.asked.warm_up_seconds + LONGEST * self.asked.seconds
        self._loop.call_at(self._loop.time() + limit, self._end)
        seconds, cores = await self._ended
        counted = self.counted
        drained_by = time.perf_counter() + DRAIN_SECONDS
        while self._open and time.perf_counter() < drained_by:
            await asyncio.sleep(0.01)
        return Result(
            seconds,
            len(counted.latencies),
            dict(counted.errors),
            Times.of(counted.latencies),
            counted.tokens,
            Times.of(counted.firsts),
            Times.of(counted.gaps),
            cores,
            self.all_answered,
            self.all_tokens,
        )

    def told(self) -> _Counted:
        """Where a connection writes; what is told outside the time that counts is forgotten."""
        now = time.perf_counter()
        enough = len(self.counted.latencies) >= self.asked.least
        if enough and now >= self._begins + self.asked.seconds:
            self._end()
        return self.counted if now >= self._begins and not self.over else _Counted()

    def closed(self, connection: "_Connection") -> None:
        self._open.discard(connection)
        if not self.over:
            self.later(lambda: self._connect(connection.requests))

    def later(self, call: Callable[[], None]) -> None:
        """After an error, so that a server that refuses is not asked all the time."""
        self._loop.call_later(AFTER_AN_ERROR_SECONDS, call)

    def _connect(self, requests: Iterator[bytes]) -> None:
        if self.over:
            return
        connection = _Connection(self, requests)
        self._open.add(connection)
        task = self._loop.create_task(
            self._loop.create_connection(lambda: connection, self.asked.host, self.asked.port)
        )

        def failed(task: "asyncio.Task[object]") -> None:
            if not task.cancelled() and task.exception() is not None:
                self.told().errors["lost"] += 1
                self.closed(connection)

        task.add_done_callback(failed)

    def _begin(self) -> None:
        self._processor = time.process_time()

    def _end(self) -> None:
        if not self.over:
            self.over = True
            seconds = time.perf_counter() - self._begins
            self._ended.set_result((seconds, (time.process_time() - self._processor) / seconds))


class _Connection(asyncio.Protocol):
    """One connection; asks again as soon as it was answered."""

    def __init__(self, load: _Load, requests: Iterator[bytes]) -> None:
        self.requests = requests
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waits = False
        self._asked_at = self._arrived_at = 0.0
        self._complete = self._stays_open = False
        self._tail = b""
        self._came = self._tokens = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._ask()

    def connection_lost(self, _error: Exception | None) -> None:
        if self._waits:
            self._load.told().errors["lost"] += 1
        self._transport = None
        self._load.closed(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        if self._came:
            self._tell_tokens(time.perf_counter())
        if self._complete:
            self._tell_answer(time.perf_counter())

    def on_body(self, body: bytes) -> None:
        marker = self._load.marker
        if marker:
            text = self._tail + body
            self._came += text.count(marker)
            self._tail = text[1 - len(marker) :] if len(marker) > 1 else b""

    def on_message_complete(self) -> None:
        self._complete = True
        self._stays_open = self._parser.should_keep_alive()  # the parser forgets it after this

    def _ask(self) -> None:
        if self._transport is None:
            return
        if self._load.over:
            self._transport.close()
            return
        self._parser = httptools.HttpResponseParser(self)
        self._complete, self._waits, self._tail, self._tokens = False, True, b"", 0
        self._asked_at = time.perf_counter()
        self._transport.write(next(self.requests))

    def _tell_tokens(self, now: float) -> None:
        counted = self._load.told()
        if self._tokens:
            counted.gaps.append(now - self._arrived_at)
        else:
            counted.firsts.append(now - self._asked_at)
        counted.tokens += self._came
        self._load.all_tokens += self._came
        self._tokens += self._came
        self._arrived_at, self._came = now, 0

    def _tell_answer(self, now: float) -> None:
        counted = self._load.told()
        status = self._parser.get_status_code()
        self._complete = self._waits = False
        if status != 200:
            counted.errors[str(status)] += 1
        elif self._tokens < self._load.asked.tokens:
            counted.errors["short"] += 1
        else:
            counted.latencies.append(now - self._asked_at)
            self._load.all_answered += 1
            self._load.told()  # it may have been the last that was wanted
        if self._transport is not None and not self._stays_open:
            self._transport.close()
        elif status != 200:
            self._load.later(self._ask)
        else:
            self._ask()


def request(asked: Asked, body: str) -> bytes:
    """A whole HTTP/1.1 request."""
    content = body.encode()
    headers = {
        "Host": f"{asked.host}:{asked.port}",
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        **asked.headers,
    }
    lines = [
        f"POST {asked.path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + content


async def _run(asked: Asked) -> Result:
    return await _Load(asked).run()


def main() -> None:
    values = json.load(sys.stdin)
    asked = Asked(**{**values, "cores": tuple(values["cores"])})
    if asked.cores:
        os.sched_setaffinity(0, asked.cores)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(_run(asked))
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
