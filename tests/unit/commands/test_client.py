"""What commands make of the server's answers: events, problems, lost connections."""

import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from service.commands import jobs
from service.commands.client import Client, CommandError, ConnectionLostError, connect, read_events

JOB = "/jobs/01900000-0000-7000-8000-000000000000"


def _client(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client(httpx.Client(base_url="http://test", transport=httpx.MockTransport(answer)))


def _event(seq: int, name: str, data: dict[str, object]) -> bytes:
    text = json.dumps({"seq": seq, "type": name, "data": data})
    return f"event: {name}\nid: {seq}\ndata: {text}\n\n".encode()


def test_events_are_read_over_any_cut() -> None:
    stream = (
        ': hello\nretry: 1000\n\nevent: token\nid: 7\ndata: {"text": "a\u2028b\x85"}\n\n'
        'data: [1,\r\ndata: 2]\r\n\r\ndata: [DONE]\n\ndata: {"cut": "off'
    ).encode()
    for length in (1, 2, 7, len(stream)):
        chunks = [stream[start : start + length] for start in range(0, len(stream), length)]
        events = list(read_events(chunks))
        assert [(e.name, e.data, e.id) for e in events] == [
            ("token", {"text": "a\u2028b\x85"}, "7"),
            ("message", [1, 2], "7"),
            ("message", None, "7"),
        ]


def test_a_problem_is_a_sentence_with_the_wrong_places() -> None:
    problem = {
        "title": "The request does not fit its schema",
        "detail": "1 place of the request must be changed.",
        "errors": [{"location": "body.training.max_epochs", "message": "must be at least 1"}],
    }
    client = _client(lambda _: httpx.Response(422, json=problem))
    with pytest.raises(CommandError) as caught:
        client.post("/jobs", {})
    assert str(caught.value) == (
        "The request does not fit its schema: 1 place of the request must be changed.\n"
        "  body.training.max_epochs: must be at least 1"
    )


def test_an_answer_of_something_else_is_named_by_its_status() -> None:
    client = _client(lambda _: httpx.Response(502, html="<h1>Bad gateway</h1>"))
    with pytest.raises(CommandError, match=r"answered 502 Bad Gateway"):
        client.get("/jobs")


def test_nobody_there_says_how_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRISE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("REPRISE_API_KEY", "rp_some")
    with pytest.raises(ConnectionLostError, match="reprise up"), connect() as client:
        client.get("/jobs")


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://[::1"])
def test_a_wrong_address_is_named(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REPRISE_URL", url)
    monkeypatch.setenv("REPRISE_API_KEY", "rp_some")
    with pytest.raises(CommandError, match="REPRISE_URL"), connect() as client:
        client.get("/jobs")


@pytest.mark.parametrize("key", ["", "  ", "schlüssel"])
def test_a_missing_key_says_where_to_get_one(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("REPRISE_API_KEY", key)
    with pytest.raises(CommandError, match="REPRISE_API_KEY"), connect():
        raise AssertionError


class _Broken(httpx.SyncByteStream):
    """Sends what it has, then loses the connection."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        raise httpx.ReadError("reset by peer")


def test_following_resumes_after_the_last_event_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, json={"state": "succeeded"})
        asked.append(request.headers["Last-Event-ID"])
        if len(asked) == 1:
            stream = _Broken(_event(1, "state", {"to": "queued"}), _event(2, "metrics", {}))
            return httpx.Response(200, stream=stream)
        if len(asked) == 2:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, content=_event(3, "state", {"to": "succeeded"}))

    monkeypatch.setattr(jobs.time, "sleep", lambda _: None)
    events = list(jobs.followed_events(_client(answer), JOB.removeprefix("/jobs/")))
    assert [event.id for event in events] == ["1", "2", "3"]
    assert asked == ["0", "2", "2"]


def test_following_goes_on_where_a_job_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It used to end with the first end, which was long ago."""
    ends = [_event(1, "state", {"to": "failed"}), _event(2, "state", {"to": "succeeded"})]
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, json={"state": ["running", "succeeded"][len(asked) - 1]})
        asked.append(request.headers["Last-Event-ID"])
        return httpx.Response(200, content=ends[len(asked) - 1])

    monkeypatch.setattr(jobs.time, "sleep", lambda _: None)
    events = list(jobs.followed_events(_client(answer), JOB.removeprefix("/jobs/")))
    assert [event.id for event in events] == ["1", "2"]
    assert asked == ["0", "1"]


def test_following_gives_up_when_nobody_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    pauses: list[float] = []
    monkeypatch.setattr(jobs.time, "sleep", pauses.append)
    with pytest.raises(ConnectionLostError):
        list(jobs.followed_events(_client(refuse), JOB.removeprefix("/jobs/")))
    assert len(pauses) == jobs.RECONNECTIONS
