"""Routers whose routes are closed and strict unless they say otherwise.

`service.api.middleware.Gate` authenticates before a route is even chosen. A `StrictRoute` then
refuses, before it reads the body: a missing scope, an answer that the client does not accept, an
unknown query parameter, a wrong content type. It reads the body up to its limit, parses it
strictly, replays a stored answer where there is an Idempotency-Key, and hands on to FastAPI, or to
the route itself where that is `@direct`.
"""

import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import timedelta
from enum import Enum
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, params
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.routing import APIRoute
from fastapi.security.base import SecurityBase
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from service.api import strict_json
from service.api.deps import Services
from service.api.direct import caller, is_direct
from service.api.negotiation import accepts, is_json, media_type
from service.auth.subjects import Scope, Subject
from service.errors import (
    BodyTooLargeError,
    Fault,
    ForbiddenError,
    NotAcceptableError,
    UnsupportedMediaTypeError,
    ValidationError,
)
from service.idempotency import (
    HEADER,
    LEASE,
    LONG_LEASE,
    REPLAYED_HEADER,
    Reservation,
    StoredAnswer,
    read_key,
)

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Handler = Callable[[Request], Coroutine[Any, Any, Response]]

THREADED_PARSE_BYTES = 64 * 2**10  # a longer body would hold up the event loop for milliseconds
MULTIPART = "multipart/form-data"


class Requires(SecurityBase):
    """The dependency that gives a route its subject, if the subject has the scopes."""

    def __init__(self, scopes: tuple[Scope, ...]) -> None:
        self.scopes = scopes
        self.model = HTTPBearerModel(description="`Authorization: Bearer rp_…`")
        self.scheme_name = "key"

    async def __call__(self, request: Request) -> Subject:
        return self.check(request)

    def check(self, request: Request) -> Subject:
        subject: Subject = request.state.subject
        missing = [scope for scope in self.scopes if scope not in subject.scopes]
        if missing:
            raise ForbiddenError(f"The key lacks the scope {', '.join(missing)}.")
        return subject


def requires(*scopes: Scope) -> Any:
    """Declares a route's scopes: `subject: Annotated[Subject, requires(Scope.JOBS_READ)]`.

    Without a scope: any valid key.
    """
    return Depends(Requires(scopes))


def idempotent(endpoint: Endpoint) -> Endpoint:
    """Marks a POST whose repetition would do more: an Idempotency-Key makes it harmless.

    Its answer is stored as it is, so it must hold no secret. A route that calls `Once.keep` in the
    transaction that does the work does it once even if its process is killed. One with `uploads`
    calls `answer_once` itself, when it knows what it was sent.
    """
    endpoint.__dict__["idempotent"] = True
    return endpoint


def uploads(endpoint: Endpoint) -> Endpoint:
    """Marks a route that reads a multipart body from `request.stream()` by itself.

    The stream raises BodyTooLargeError past `max_upload_bytes`.
    """
    endpoint.__dict__["uploads"] = True
    return endpoint


def produces(*media_types: str) -> Callable[[Endpoint], Endpoint]:
    """Names the media types of a route's answers where they are not only application/json."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.__dict__["produces"] = media_types
        return endpoint

    return mark


class Once:
    """What an idempotent route has to do with its Idempotency-Key; nothing where there is none."""

    def __init__(self, request: Request, response: Response) -> None:
        self._request, self._response = request, response

    def keep(self, db: Session, view: BaseModel) -> None:
        """Stores the answer, with the headers so far, in the transaction that does the work.

        Raises IdempotencyInProgressError where another request has taken the key over.
        """
        reservation: Reservation | None = getattr(self._request.state, "reservation", None)
        if reservation is not None:
            status = self._request.scope["route"].status_code or 200
            headers = {**self._response.headers, "content-type": "application/json"}
            body = view.model_dump_json(by_alias=True).encode()
            reservation.keep(db, StoredAnswer.of(status, body, headers))


OnceDep = Annotated[Once, Depends(Once)]


class StrictRoute(APIRoute):
    """A route for authenticated subjects. Declaring one without `requires` is an error."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.idempotent: bool = getattr(endpoint, "idempotent", False)
        self.uploads: bool = getattr(endpoint, "uploads", False)
        self.produces: tuple[str, ...] = getattr(endpoint, "produces", ("application/json",))
        if self.idempotent:
            extra = options.get("openapi_extra") or {}
            parameters = [*extra.get("parameters", []), _IDEMPOTENCY_PARAMETER]
            options["openapi_extra"] = {**extra, "parameters": parameters}
        super().__init__(path, endpoint, **options)
        self.requirements = tuple(_requirements(self.dependant))
        if not self.requirements:
            raise TypeError(f"{endpoint.__qualname__} does not say what it requires")
        keeps = any(dependency.call is Once for dependency in self.dependant.dependencies)
        self.lease = LEASE if keeps else LONG_LEASE
        if isinstance(getattr(self.body_field, "field_info", None), params.Form):
            raise TypeError(f"{endpoint.__qualname__} would hold a form in memory: use @uploads")
        self.query_names = frozenset(
            field.alias for field in get_flat_params(self.dependant) if _is_query(field)
        )

    @property
    def required_scopes(self) -> frozenset[Scope]:
        return frozenset(scope for each in self.requirements for scope in each.scopes)

    def get_route_handler(self) -> Handler:
        inner = caller(self) if is_direct(self) else super().get_route_handler()

        async def handle(request: Request) -> Response:
            for requirement in self.requirements:
                requirement.check(request)
            self._check_query(request)
            if not accepts(request.headers.getlist("accept"), self.produces):
                raise NotAcceptableError(f"This route answers with {', '.join(self.produces)}.")
            if self.idempotent:
                read_key(request.headers.getlist(HEADER))  # an unusable one, before a long body
            services: Services = request.app.state.services
            if self.uploads:
                if media_type(request) != MULTIPART:
                    raise UnsupportedMediaTypeError(f"Send the file as {MULTIPART}.")
                return await inner(_limited(request, services.settings.max_upload_bytes))
            request = _limited(request, services.settings.max_body_bytes)
            if self.body_field is not None:
                await _read_json(request)
            if self.idempotent and HEADER in request.headers:
                digest = await _digest(request)
                return await answer_once(request, digest, lambda: inner(request), self.lease)
            return await inner(request)

        return handle

    def _check_query(self, request: Request) -> None:
        if not request.scope["query_string"]:
            return
        faults = []
        for name, value in request.query_params.multi_items():
            if name not in self.query_names:
                faults.append(Fault(("query", name), "There is no such parameter."))
            elif "\0" in value:
                faults.append(Fault(("query", name), "Text must not hold NUL."))
        if faults:
            raise ValidationError("A query parameter is wrong.", faults=faults)


def protected_router(prefix: str, tags: list[str | Enum]) -> APIRouter:
    """A router of routes that need a key with the right scopes."""
    return APIRouter(prefix=prefix, tags=tags, route_class=StrictRoute)


def public_router(tags: list[str | Enum]) -> APIRouter:
    """A router of routes that anybody may call. `create_app` names those that it lets through."""
    return APIRouter(tags=tags)


def _requirements(dependant: Dependant) -> Iterator[Requires]:
    for dependency in dependant.dependencies:
        if isinstance(dependency.call, Requires):
            yield dependency.call
        yield from _requirements(dependency)


def _is_query(field: Any) -> bool:
    return isinstance(field.field_info, params.Query)


def _limited(request: Request, limit: int) -> Request:
    """The same request, whose body raises BodyTooLargeError once it passes `limit` bytes."""
    announced = request.headers.get("content-length")
    if announced is not None and int(announced) > limit:
        raise BodyTooLargeError(f"The body has {announced} bytes; the limit is {limit}.")
    return Request(request.scope, _counting(request.receive, limit), request._send)


def _counting(receive: Receive, limit: int) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise BodyTooLargeError(f"The body is longer than the limit of {limit} bytes.")
        return message

    return counted


async def _read_json(request: Request) -> None:
    """Reads and parses the body; FastAPI finds both results on the request."""
    content_type = request.headers.get("content-type")
    if content_type is not None and not is_json(content_type):
        raise UnsupportedMediaTypeError("Send the body as application/json.")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaTypeError("Send the body without a Content-Encoding.")
    body = await request.body()
    if not body:
        return
    if content_type is None:
        raise UnsupportedMediaTypeError("Send a Content-Type: application/json.")
    if len(body) > THREADED_PARSE_BYTES:
        request._json = await run_in_threadpool(strict_json.parse, body)
    else:
        request._json = strict_json.parse(body)


async def answer_once(
    request: Request,
    digest: str,
    run: Callable[[], Awaitable[Response]],
    lease: timedelta = LONG_LEASE,
) -> Response:
    """Runs the first request with this Idempotency-Key, replays its answer to the next.

    `digest` tells whether two requests are the same. Without the header it just runs. A request
    that has no answer after `lease` is taken for dead.
    """
    key = read_key(request.headers.getlist(HEADER))
    if key is None:
        return await run()
    services: Services = request.app.state.services
    subject: Subject = request.state.subject
    reservation = Reservation(
        services.database, services.settings, subject.workspace_id, key, lease
    )
    stored = await run_in_threadpool(reservation.reserve, digest)
    if stored is not None:
        headers = {**stored.headers, REPLAYED_HEADER: "true"}
        return Response(stored.body, status_code=stored.status, headers=headers)
    request.state.reservation = reservation
    try:
        response = await run()
    except Exception:
        # Not on a cancellation: the route may still be running in its thread. The lease runs out.
        await run_in_threadpool(reservation.release)
        raise
    if response.status_code >= 300:
        await run_in_threadpool(reservation.release)
        return response
    answer = StoredAnswer.of(response.status_code, bytes(response.body), response.headers)
    await run_in_threadpool(reservation.complete, answer)
    return response


async def _digest(request: Request) -> str:
    target = f"{request.method} {request.scope['path']}\n".encode()
    return hashlib.sha256(target + await request.body()).hexdigest()


_IDEMPOTENCY_PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "A repetition with the same key and body gets the first answer again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
