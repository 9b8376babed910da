import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.serving.load import Asked, Times, _Connection, _Counted, percentile, request

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Told:
    """Stands for the load that connections tell of."""

    def __init__(self, marker: str, tokens: int) -> None:
        self.asked = Asked("127.0.0.1", 80, "/p", {}, ["{}"], 1, 0, 1, marker=marker, tokens=tokens)
        self.marker = marker.encode()
        self.counted = _Counted()
        self.over = False
        self.waiting = self.all_answered = self.all_tokens = 0

    def later(self, _call: Callable[[], None]) -> None:
        self.waiting += 1

    def told(self) -> _Counted:
        return self.counted


def connection(told: Told) -> _Connection:
    """One that has asked, and asks nothing more."""
    return _Connection(told, iter([]))  # type: ignore[arg-type]


def stream(events: int) -> bytes:
    event = b'event: token\ndata: {"index":0,"text":"a"}\n\n'
    chunks = [b"%x\r\n%s\r\n" % (len(event), event) for _ in range(events)]
    return HEAD + b"".join(chunks) + b"0\r\n\r\n"


@given(st.lists(st.integers(0, 1_000), max_size=20))
def test_a_stream_counts_the_same_however_it_is_cut(places: list[int]) -> None:
    whole = stream(5)
    cuts = [0, *sorted(min(place, len(whole)) for place in places), len(whole)]
    told = Told("event: token", tokens=5)
    asked = connection(told)
    for start, end in pairwise(cuts):
        if end > start:
            asked.data_received(whole[start:end])
    counted = told.counted
    assert counted.tokens == told.all_tokens == 5
    assert told.all_answered == 1
    assert len(counted.firsts) == 1
    assert len(counted.latencies) == 1
    assert not counted.errors
    assert len(counted.gaps) <= 4  # tokens that arrive together count once


def test_a_stream_with_too_few_tokens_is_an_error_and_no_answer() -> None:
    told = Told("event: token", tokens=5)
    connection(told).data_received(stream(4))
    assert told.counted.errors == {"short": 1}
    assert told.counted.latencies == []


def test_percentiles_are_values_that_were_measured() -> None:
    ordered = [float(value) for value in range(1, 101)]
    assert percentile(ordered, 0.5) == 50
    assert percentile(ordered, 0.99) == 99
    assert percentile([7.0], 0.99) == 7
    assert Times.of([0.003, 0.001, 0.002]) == Times(p50=2.0, p99=3.0)
    assert Times.of([]) is None


def test_a_request_is_what_a_server_reads() -> None:
    asked = Asked("127.0.0.1", 80, "/p", {"Authorization": "Bearer k"}, [], 1, 0, 1)
    body = json.dumps({"text": "naïve"}, ensure_ascii=False)

    class Read:
        def __init__(self) -> None:
            self.url = self.body = b""
            self.headers: dict[bytes, bytes] = {}
            self.whole = False

        def on_url(self, url: bytes) -> None:
            self.url += url

        def on_header(self, name: bytes, value: bytes) -> None:
            self.headers[name.lower()] = value

        def on_body(self, part: bytes) -> None:
            self.body += part

        def on_message_complete(self) -> None:
            self.whole = True

    read: Any = Read()
    httptools.HttpRequestParser(read).feed_data(request(asked, body))
    assert read.whole
    assert (read.url, read.body.decode()) == (b"/p", body)
    assert read.headers[b"authorization"] == b"Bearer k"


@pytest.mark.parametrize(("status", "named"), [(503, "503"), (404, "404")])
def test_other_answers_are_counted_by_their_status(status: int, named: str) -> None:
    told = Told("", tokens=0)
    connection(told).data_received(b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\n{}" % status)
    assert told.counted.errors == {named: 1}
    assert told.waiting == 1
    assert told.counted.latencies == []


class Transport:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("head", "stays"),
    [
        (b"Content-Length: 2", True),
        (b"Content-Length: 2\r\nConnection: close", False),
    ],
)
def test_the_next_request_goes_over_the_same_connection_at_once(head: bytes, stays: bool) -> None:
    told: Any = Told("", tokens=0)
    transport: Any = Transport()
    asked = _Connection(told, iter([b"one", b"two"]))
    asked.connection_made(transport)
    asked.data_received(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n{}")
    assert transport.written == ([b"one", b"two"] if stays else [b"one"])
    assert transport.closed != stays
    assert told.waiting == 0
