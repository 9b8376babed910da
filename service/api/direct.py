"""The short way of requests that come often: from the gate to their route.

FastAPI's own way (matching, dependencies, exit stacks) takes more processor time than all that such
a route does. A route marked `@direct` is declared as every other one, and `StrictRoute` makes the
same checks of its requests in the same order; only how it is found and called is shorter.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from inspect import signature
from typing import Any, TypeGuard, TypeVar

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Body = TypeVar("Body", bound=BaseModel)
Answer = TypeVar("Answer")
Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_GIVEN = frozenset({"body", "subject", "services", "request"})
# Answers that take less are not worth a look whether the client is still there.
_WATCHED_AFTER_SECONDS = 0.05
_MISSING = {"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}


def direct(endpoint: Endpoint) -> Endpoint:
    """Marks a coroutine that returns a Response, and takes a `body` that must be there and, as it
    needs them, `subject`, `services`, `request` and the parts of its path, under these names."""
    endpoint.__dict__["direct"] = True
    return endpoint


def is_direct(route: object) -> TypeGuard[APIRoute]:
    return isinstance(route, APIRoute) and getattr(route.endpoint, "direct", False)


def validated(model: type[Body], value: Any) -> Body:
    """A body as a route declares it; raises RequestValidationError as FastAPI does."""
    try:
        return model.model_validate(value, from_attributes=True)
    except ValidationError as error:
        faults = [
            {**fault, "loc": ("body", *fault["loc"])} for fault in error.errors(include_url=False)
        ]
        raise RequestValidationError(faults) from None


def caller(route: APIRoute) -> Handler:
    """Calls the endpoint for a request whose body was read and parsed.

    Raises TypeError for an endpoint that is none as `direct` says.
    """
    endpoint, parameters = route.endpoint, signature(route.endpoint).parameters
    if "body" not in parameters or set(parameters) - _GIVEN - set(route.param_convertors):
        raise TypeError(f"{endpoint.__qualname__} cannot be called directly")
    model = parameters["body"].annotation

    async def call(request: Request) -> Response:
        if not await request.body():
            raise RequestValidationError([_MISSING])
        given = {
            "body": validated(model, await request.json()),
            "subject": request.state.subject,
            "services": request.app.state.services,
            "request": request,
            **request.path_params,
        }

        async def hung_up() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        return await unless_gone(endpoint(**{name: given[name] for name in parameters}), hung_up)

    return call


async def unless_gone(
    answer: Coroutine[Any, Any, Answer], hung_up: Callable[[], Coroutine[Any, Any, None]]
) -> Answer:
    """Awaits an answer; a client that hangs up cancels it, so that nothing is computed for nobody.

    Args:
        hung_up: returns once the client has; cancelled where the answer is there first.

    Raises:
        ClientDisconnect: it has.
    """
    answering, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert answering is not None
    watching: asyncio.Task[None] | None = None
    gone = False

    async def watch() -> None:
        nonlocal gone
        await hung_up()
        gone = True
        answering.cancel()

    def begin() -> None:
        nonlocal watching
        watching = loop.create_task(watch())

    timer = loop.call_later(_WATCHED_AFTER_SECONDS, begin)
    try:
        return await answer
    except asyncio.CancelledError:
        if not gone:
            raise
        answering.uncancel()
        raise ClientDisconnect from None
    finally:
        timer.cancel()
        if watching is not None:
            watching.cancel()


class Direct:
    """Innermost: answers requests of direct routes itself, and leaves all others to FastAPI."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self.app = app
        self._by_path: dict[tuple[str, str], Handler] = {}
        self._by_pattern: list[tuple[set[str], re.Pattern[str], Handler]] = []
        for context in iter_route_contexts(routes):
            route, methods = context.original_route, context.methods or set()
            if is_direct(route):
                handler = route.get_route_handler()
                if route.param_convertors:
                    self._by_pattern.append((methods, context.path_regex, handler))
                else:
                    self._by_path |= {(method, str(context.path)): handler for method in methods}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._find(scope) if scope["type"] == "http" else None
        if handler is None:
            await self.app(scope, receive, send)
            return
        response = await handler(Request(scope, receive, send))
        await response(scope, receive, send)

    def _find(self, scope: Scope) -> Handler | None:
        method, path = scope["method"], scope["path"]
        if handler := self._by_path.get((method, path)):
            return handler
        for methods, pattern, handler in self._by_pattern:
            if method in methods and (match := pattern.match(path)):
                scope["path_params"] = match.groupdict()
                return handler
        return None
