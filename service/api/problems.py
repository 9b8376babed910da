"""Turns every error into a problem document (RFC 9457), and nothing of it into a leak.

Input is echoed only as a location or a message of at most 200 characters; a stack trace never.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, get_args
from urllib.parse import quote

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response

from rnn.config import TaskName
from rnn.errors import RnnError
from service.errors import (
    Fault,
    InsufficientStorageError,
    MalformedRequestError,
    MethodNotAllowedError,
    NotFoundError,
    RangeNotSatisfiableError,
    ServiceError,
    UnauthenticatedError,
    UnavailableError,
    ValidationError,
    of_science,
)
from service.sweeps.space import DIMENSION_TYPES

MEDIA_TYPE = "application/problem+json"
ECHO_LIMIT = 200
DETAIL_LIMIT = 500  # ours, and may name what was found
FAULT_LIMIT = 100
DISK_FULL = "53100"  # PostgreSQL's code for it
TASK_TAGS = frozenset(get_args(TaskName))


def shorten(text: str, limit: int = ECHO_LIMIT) -> str:
    """At most `limit` characters, all of which can be encoded."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text.encode("utf-8", "replace").decode("utf-8")


def to_service_error(error: Exception) -> ServiceError:
    """The domain error that an exception of a library stands for."""
    match error:
        case ServiceError():
            return error
        case RequestValidationError():
            return _validation_error(error.errors())
        case HTTPException():
            return _http_error(error)
        case DBAPIError() if getattr(error.orig, "sqlstate", None) == DISK_FULL:
            return InsufficientStorageError("The database's disk has no space left.")
        case PoolTimeoutError() | OperationalError():
            return _unavailable()
        case DBAPIError() if error.connection_invalidated:
            return _unavailable()
        case RnnError():
            return of_science(error) or _internal()
    return _internal()


async def answer_problem(connection: HTTPConnection, error: Exception) -> Response:
    """The answer that says what went wrong; also the handler of FastAPI's own errors."""
    problem = to_service_error(error)
    body: dict[str, Any] = {
        "type": f"urn:reprise:problem:{problem.problem}",
        "title": problem.title,
        "status": problem.status,
        "detail": shorten(problem.detail, DETAIL_LIMIT),
        "instance": shorten(quote(connection.scope["path"].encode("utf-8", "replace"))),
        "request_id": connection.scope.get("state", {}).get("request_id", ""),
        "errors": [
            {"location": shorten(_dotted(fault.location)), "message": shorten(fault.message)}
            for fault in problem.faults[:FAULT_LIMIT]
        ],
    }
    headers: dict[str, str] = {}
    if isinstance(problem, MethodNotAllowedError):
        headers["Allow"] = ", ".join(_allowed_methods(connection))
    if isinstance(problem, UnauthenticatedError):
        headers["WWW-Authenticate"] = 'Bearer realm="reprise"'
    if isinstance(problem, RangeNotSatisfiableError):
        headers["Content-Range"] = f"bytes */{problem.size_bytes}"
    if problem.retry_after_seconds is not None:
        headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after_seconds)))
    return Response(
        json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
        status_code=problem.status,
        headers=headers,
        media_type=MEDIA_TYPE,
    )


def _allowed_methods(connection: HTTPConnection) -> list[str]:
    """The methods of all routes that have the path of a request."""
    path = connection.scope["path"]
    methods: set[str] = set()
    for route in iter_route_contexts(connection.app.routes):
        if isinstance(route.original_route, APIRoute) and route.path_regex.match(path):
            methods |= route.methods or set()
    return sorted(methods)


def _dotted(location: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in location)


def _internal() -> ServiceError:
    return ServiceError("Something went wrong here. The server's log has the request id.")


def _unavailable() -> UnavailableError:
    return UnavailableError("The database does not answer.")


def _validation_error(errors: Sequence[Any]) -> ValidationError:
    faults = [Fault(_place(error["loc"]), _message(error)) for error in errors]
    places = "1 place" if len(faults) == 1 else f"{len(faults)} places"
    return ValidationError(f"{places} of the request must be changed.", faults=faults)


def _place(location: Sequence[str | int]) -> tuple[str | int, ...]:
    """Without the name of the schema that pydantic puts where one of several was chosen: by `task`
    for the body itself or for the job in it, by `type` for what a sweep may change."""
    in_space = location[1:2] == ("space",)
    return tuple(
        part
        for depth, part in enumerate(location)
        if not (depth in (1, 2) and part in TASK_TAGS)
        and not (depth == 3 and in_space and part in DIMENSION_TYPES)
    )


def _message(error: dict[str, Any]) -> str:
    message: str = error["msg"]
    return message.removeprefix("Value error, ")


def _http_error(error: HTTPException) -> ServiceError:
    if error.status_code == 404:
        return NotFoundError("No route has this path.")
    if error.status_code == 405:
        return MethodNotAllowedError("This path has other methods: see the Allow header.")
    if error.status_code < 500:
        return MalformedRequestError(str(error.detail))
    return _internal()
