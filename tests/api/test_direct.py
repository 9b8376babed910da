"""Routes that requests reach without FastAPI: nobody can tell from their answers."""

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from service.api.deps import Services, ServicesDep
from service.api.direct import direct
from service.api.routing import StrictRoute, protected_router, requires
from service.auth.subjects import Scope, Subject
from tests.api.asgi import Answer, call
from tests.api.conftest import MakeApp, MakeKey, bearer
from tests.api.probe import Everything

router = protected_router("/probe", tags=["probe"])
Writer = Annotated[Subject, requires(Scope.JOBS_WRITE)]
JSON = {"content-type": "application/json"}


def answer(name: str, body: Everything, subject: Subject, services: Services) -> Response:
    if body.text == "bug":
        raise RuntimeError("the secret detail")
    said = {"name": name, "body": body.model_dump(), "workspace": str(subject.workspace_id)}
    return Response(f"{said} {services.settings.max_body_bytes}", media_type="text/plain")


@router.post("/direct/{name}")
@direct
async def short(name: str, body: Everything, subject: Writer, services: ServicesDep) -> Response:
    return answer(name, body, subject, services)


@router.post("/usual/{name}")
async def usual(name: str, body: Everything, subject: Writer, services: ServicesDep) -> Response:
    return answer(name, body, subject, services)


@pytest.fixture
def app(make_app: MakeApp) -> Iterator[FastAPI]:
    app = make_app(max_body_bytes=1_024)
    app.include_router(router, prefix="/api/v1")
    return app


def seen(answer: Answer) -> tuple[Any, ...]:
    """All of an answer that does not name its request."""
    headers = {name: each for name, each in answer.headers.items() if name != "x-request-id"}
    headers.pop("content-length")
    body = answer.body
    if answer.status >= 400:
        problem = answer.json()
        del problem["request_id"], problem["instance"]
        body = problem
    return answer.status, headers, body


@pytest.mark.parametrize(
    ("lines", "body", "status"),
    [
        (JSON, b'{"text": "a", "values": [1, 2.5]}', 200),
        (JSON, b"", 422),
        (JSON, b"null", 422),
        (JSON, b'"text"', 422),
        (JSON, b"[1]", 422),
        (JSON, b'{"text": 1, "rate": 11, "unknown": 0, "values": [1, "2"]}', 422),
        (JSON, b'{"text": "a", "text": "b"}', 400),
        (JSON, b'{"rate": NaN}', 400),
        (JSON, b'{"text": "\\ud800"}', 422),
        (JSON, b'{"text": "%s"}' % (b"a" * 1_024), 413),
        (JSON, b'{"text": "bug"}', 500),
        ({}, b"{}", 415),
        ({"content-type": "text/plain"}, b"{}", 415),
        ({**JSON, "content-encoding": "gzip"}, b"{}", 415),
        ({**JSON, "accept": "image/png"}, b"{}", 406),
        ({**JSON, "authorization": "Bearer nobody"}, b"{}", 401),
    ],
)
def test_it_answers_as_every_route(
    app: FastAPI, headers: dict[str, str], lines: dict[str, str], body: bytes, status: int
) -> None:
    short, usual = (
        call(app, "POST", f"/api/v1/probe/{way}/x", {**headers, **lines}, [body])
        for way in ("direct", "usual")
    )
    assert short.status == status
    assert seen(short) == seen(usual)


def test_scopes_methods_and_parameters_count_as_everywhere(
    app: FastAPI, headers: dict[str, str], make_key: MakeKey
) -> None:
    poor = bearer(make_key({Scope.JOBS_READ}))
    for method, path, given, status in (
        ("POST", "x", poor, 403),
        ("POST", "x?more=1", headers, 422),
        ("GET", "x", headers, 405),
        ("POST", "x/y", headers, 404),
    ):
        short, usual = (
            call(app, method, f"/api/v1/probe/{way}/{path}", {**JSON, **given}, [b"{}"])
            for way in ("direct", "usual")
        )
        assert short.status == status
        assert seen(short) == seen(usual)


def test_an_endpoint_that_wants_more_cannot_be_declared() -> None:
    @direct
    async def greedy(body: Everything, subject: Writer, response: Response) -> Response:
        raise AssertionError

    with pytest.raises(TypeError, match="greedy cannot be called directly"):
        StrictRoute("/x", greedy, methods=["POST"])


def test_an_endpoint_without_a_body_cannot_be_declared() -> None:
    @direct
    async def empty(request: Request, subject: Writer) -> Response:
        raise AssertionError

    with pytest.raises(TypeError, match="empty cannot be called directly"):
        StrictRoute("/x", empty, methods=["POST"])
