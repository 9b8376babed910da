"""Bodies over HTTP: bad_inputs jobs-01 to jobs-11 and their like, on routes of the core."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.conftest import problem

ECHO = "/api/v1/probe/echo"
Headers = dict[str, str]


@pytest.fixture
def json_headers(headers: Headers) -> Headers:
    return {**headers, "Content-Type": "application/json"}


def test_malformed_bodies(probe: TestClient, json_headers: Headers) -> None:
    """jobs-02, 03, 04, 09; forecast-04, 24, 25; sentiment-12, 28, 29; completions-34."""
    for body in (
        b"{",
        b'{"text": "a"',
        b'{"a":' * 100_000,
        b'{"text": "\xff"}',
        b"\xc3\x28",
        b'{"rate": NaN}',
        b'{"values": [Infinity]}',
        b'{"values": [-Infinity]}',
        b'{"seed": ' + b"1" * 5_000 + b"}",
        b'{"text": "a", "text": "b"}',
        b'{"metadata": {"a": 1, "a": 1}}',
        b"text=a",
    ):
        response = probe.post(ECHO, headers=json_headers, content=body)
        assert response.status_code == 400, body[:50]
        assert problem(response) == "malformed-json"


def test_bodies_of_the_wrong_form(probe: TestClient, json_headers: Headers) -> None:
    """jobs-01, 05, 07, 10, 11, 14; forecast-05, 10, 12; sentiment-11; completions-18."""
    cases: tuple[tuple[bytes, str], ...] = (
        (b"", "body"),
        (b"null", "body"),
        (b"[]", "body"),
        (b'"x"', "body"),
        (b"5", "body"),
        (b'{"is_admin": true}', "body.is_admin"),
        (b'{"rate": 1e999}', "body.rate"),
        (b'{"rate": -1e999}', "body.rate"),
        (b'{"rate": ' + b"9" * 4_000 + b"}", "body.rate"),
        (b'{"rate": 0}', "body.rate"),
        (b'{"rate": "1.0"}', "body.rate"),
        (b'{"rate": true}', "body.rate"),
        (b'{"seed": 1.5}', "body.seed"),
        (b'{"seed": 1.0}', "body.seed"),
        (b'{"seed": true}', "body.seed"),
        (b'{"seed": -1}', "body.seed"),
        (b'{"seed": 1' + b"0" * 4_000 + b"}", "body.seed"),
        (b'{"values": [1, 1e999]}', "body.values.1"),
        (b'{"values": [1, [2]]}', "body.values.1"),
        (b'{"values": {"0": 1}}', "body.values"),
        (b'{"text": 1}', "body.text"),
        (b'{"text": "\\u0000"}', "body.text"),
        (b'{"text": "\\ud800"}', "body.text"),
        (b'{"\\ud800": 1}', "body.?"),
        (b'{"metadata": {"a": ["x\\u0000"]}}', "body.metadata.a.0"),
        (b'{"id": "not-an-id"}', "body.id"),
        (b'{"id": 5}', "body.id"),
        (b'{"at": 5}', "body.at"),
    )
    for body, location in cases:
        response = probe.post(ECHO, headers=json_headers, content=body)
        assert response.status_code == 422, body[:50]
        assert problem(response) == "validation-error"
        assert [each["location"] for each in response.json()["errors"]] == [location], body[:50]


def test_good_bodies_come_through_unchanged(probe: TestClient, headers: Headers) -> None:
    body: dict[str, Any] = {
        "text": "ключ \U0001f600 \\u0000 \u202e",
        "rate": 1,
        "seed": 2**53,
        "values": [0, -1.5, 1e-320],
        "metadata": {"a": [None, True, {"b": 10**30}]},
        "id": "01a1fbb6-b3a0-7776-beeb-96fc92267c00",
        "at": "2030-01-01T00:00:00Z",
    }
    response = probe.post(ECHO, headers=headers, json=body)
    assert response.status_code == 200, response.text
    assert response.json() == body


def test_a_long_body_is_read_as_a_short_one(probe: TestClient, json_headers: Headers) -> None:
    """Past 64 KiB it is parsed on a thread."""
    long = b" " * 100_000
    good = probe.post(ECHO, headers=json_headers, content=long + b'{"text": "a"}')
    assert good.json()["text"] == "a"
    bad = probe.post(ECHO, headers=json_headers, content=long + b'{"rate": NaN}')
    assert bad.status_code == 400


def test_content_types(probe: TestClient, headers: Headers) -> None:
    """jobs-39, sessions-40, sentiment-31."""
    body = b'{"text": "a"}'
    for content_type, status in (
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("APPLICATION/JSON", 200),
        (None, 415),
        ("", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/json; charset=utf-16", 415),
        ("application/jsonp", 415),
        ("text/html<script>", 415),
    ):
        lines = dict(headers)
        if content_type is not None:
            lines["Content-Type"] = content_type
        response = probe.post(ECHO, headers=lines, content=body)
        assert response.status_code == status, content_type
        if status == 415:
            assert problem(response) == "unsupported-media-type"
            assert "<script>" not in response.text


def test_content_encodings(probe: TestClient, json_headers: Headers) -> None:
    for encoding, status in (("identity", 200), ("gzip", 415), ("zstd", 415), ("x, gzip", 415)):
        lines = {**json_headers, "Content-Encoding": encoding}
        response = probe.post(ECHO, headers=lines, content=b"{}")
        assert response.status_code == status, encoding


def test_accepted_media_types(probe: TestClient, headers: Headers) -> None:
    """forecast-28."""
    for path, accept, status in (
        ("/api/v1/keys", "application/json", 200),
        ("/api/v1/keys", "text/html, */*;q=0.8", 200),
        ("/api/v1/keys", "text/html", 406),
        ("/api/v1/keys", "text/event-stream", 406),
        ("/api/v1/probe/events", "text/event-stream", 200),
        ("/api/v1/probe/events", "application/json", 200),
        ("/api/v1/probe/events", "image/png", 406),
    ):
        response = probe.get(path, headers={**headers, "Accept": accept})
        assert response.status_code == status, accept
        if status == 406:
            assert problem(response) == "not-acceptable"


def test_a_good_request_is_answered_as_before_after_all_that(
    probe: TestClient, json_headers: Headers
) -> None:
    """forecast-40."""
    before = probe.post(ECHO, headers=json_headers, content=b'{"text": "a"}').json()
    test_malformed_bodies(probe, json_headers)
    test_bodies_of_the_wrong_form(probe, json_headers)
    assert probe.post(ECHO, headers=json_headers, content=b'{"text": "a"}').json() == before
