"""Sizes and rates."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.api.asgi import call
from tests.api.conftest import MakeApp, MakeKey, bearer, problem
from tests.api.probe import router

ECHO = "/api/v1/probe/echo"
UPLOAD = "/api/v1/probe/upload"
Headers = dict[str, str]


@pytest.fixture
def small_app(make_app: MakeApp) -> FastAPI:
    """1 KiB of JSON and 2 KiB of file."""
    app = make_app(max_body_bytes=1_024, max_upload_bytes=2_048, requests_per_minute=30)
    app.include_router(router, prefix="/api/v1")
    return app


def json_of(size: int) -> bytes:
    return b'{"text": "%s"}' % (b"a" * (size - 12))


def chunks(body: bytes, size: int = 100) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def test_a_body_over_the_limit(small_app: FastAPI, headers: Headers) -> None:
    """datasets-01, forecast-27, completions-35: announced, and found out while reading."""
    lines = {**headers, "content-type": "application/json"}
    for size, status in ((1_024, 200), (1_025, 413), (100_000, 413)):
        body = json_of(size)
        announced = call(
            small_app, "POST", ECHO, {**lines, "content-length": str(size)}, chunks(body)
        )
        chunked = call(small_app, "POST", ECHO, lines, chunks(body))
        lying = call(small_app, "POST", ECHO, {**lines, "content-length": "10"}, chunks(body))
        assert [announced.status, chunked.status, lying.status] == [status] * 3, size
        if status == 413:
            assert announced.chunks_read == 0
            assert chunked.chunks_read == 11
            for answer in (announced, chunked):
                assert answer.json()["type"] == "urn:reprise:problem:body-too-large"


def test_an_upload_over_its_own_limit(small_app: FastAPI, headers: Headers) -> None:
    lines = {**headers, "content-type": "multipart/form-data; boundary=x"}
    for size, status in ((2_048, 201), (2_049, 413)):
        announced = call(
            small_app, "POST", UPLOAD, {**lines, "content-length": str(size)}, [b"a" * size]
        )
        chunked = call(small_app, "POST", UPLOAD, lines, chunks(b"a" * size))
        assert [announced.status, chunked.status] == [status] * 2, size
        assert announced.chunks_read == (1 if status == 201 else 0)
    other = call(small_app, "POST", UPLOAD, {**headers, "content-type": "text/csv"}, [b"a"])
    assert (other.status, other.chunks_read) == (415, 0)


def test_lengths_that_are_no_length(small_app: FastAPI, headers: Headers) -> None:
    """datasets-03."""
    for lengths in (
        ["-1"],
        ["abc"],
        ["1", "2"],
        ["1e3"],
        ["+5"],
        ["0x10"],
        [" "],
        ["٣"],
        ["9" * 40],
    ):
        lines = [
            *headers.items(),
            ("content-type", "application/json"),
            *(("content-length", length.encode().decode("latin-1")) for length in lengths),
        ]
        answer = call(small_app, "POST", ECHO, lines, [b"{}"])
        assert answer.status == 400, lengths
        assert answer.json()["type"] == "urn:reprise:problem:malformed-request"


def test_headers_over_the_limit(client: TestClient, headers: Headers) -> None:
    """forecast-38, keys-40."""
    for line in ({"X-Long": "a" * 100 * 1024}, {"Authorization": "Bearer " + "a" * 2**20}):
        response = client.get("/api/v1/keys", headers={**headers, **line})
        assert response.status_code == 431
        assert problem(response) == "headers-too-large"
    many = [(f"x-{number}", "a") for number in range(10_000)]
    assert client.get("/health", headers=many).status_code == 431
    assert client.get("/api/v1/keys", headers={**headers, "X": "a" * 1_000}).status_code == 200


def test_requests_of_one_key_are_limited(small_app: FastAPI, make_key: MakeKey, key: str) -> None:
    """sentiment-35."""
    with TestClient(small_app, base_url="http://localhost") as client:
        answers = [client.get("/api/v1/keys", headers=bearer(key)) for _ in range(33)]
        statuses = [answer.status_code for answer in answers]
        assert (statuses[:30], statuses[-1]) == ([200] * 30, 429)
        assert problem(answers[-1]) == "rate-limited"
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert client.get("/api/v1/keys", headers=bearer(make_key())).status_code == 200
        assert client.get("/health").status_code == 200
