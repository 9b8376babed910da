"""What every request passes before a route is chosen, from the outside in.

`Envelope` gives each answer its id and headers, turns every error into a problem document, and
logs one line. `Intake` refuses requests that are not meant for us or not well formed. `Gate` lets
a request through that matches a public route exactly; everything else, with or without a route,
needs a key.
"""

import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, HTTPConnection, cookie_parser
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from service.api.problems import answer_problem, to_service_error
from service.auth.authenticator import Authenticator
from service.auth.browsers import check_csrf
from service.auth.limiter import Limiter
from service.auth.subjects import Subject
from service.errors import (
    BadHostError,
    ForbiddenError,
    HeadersTooLargeError,
    MalformedRequestError,
    NotFoundError,
    UnauthenticatedError,
)
from service.usage.counts import Usage

log = logging.getLogger(__name__)

REQUEST_ID = "X-Request-Id"
CSRF_HEADER = "X-CSRF-Token"
COOKIE = "reprise"
SECURE_COOKIE = "__Host-reprise"  # over HTTPS; a browser takes this name from nobody else
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_REQUEST_ID_NAME = REQUEST_ID.lower().encode()
_SECURITY_LINES = [
    (name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()
]
Answer = Callable[[HTTPConnection, Exception], Awaitable[Response]]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Envelope:
    """Outermost: an answer for every request, and a line in the log for every answer."""

    def __init__(self, app: ASGIApp, answer: Answer = answer_problem) -> None:
        self.app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._connect(scope, receive, send)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started_at = time.perf_counter()
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    (_REQUEST_ID_NAME, request_id.encode()),
                    *(line for line in _SECURITY_LINES if line[0] not in given),
                ]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, send_with_headers)
            except ClientDisconnect:
                status = 499  # as nginx writes it: nobody is left to answer
            except Exception as error:
                if to_service_error(error).status >= 500:
                    log.exception("request failed")
                if status:  # the answer has begun: all that can still be done is to cut it off
                    raise
                response = await self._answer(HTTPConnection(scope), error)
                await response(scope, receive, send_with_headers)
            finally:
                subject = scope["state"].get("subject")
                milliseconds = (time.perf_counter() - started_at) * 1000
                log.info(
                    "%s %s",
                    scope["method"],
                    status,
                    extra={
                        "path": scope["path"],
                        "milliseconds": round(milliseconds, 2),
                        "key_id": str(subject.key_id) if subject is not None else None,
                    },
                )

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is raised before a socket is open is the answer to its handshake."""
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, send)
            except Exception as error:
                if to_service_error(error).status >= 500:
                    log.exception("a handshake failed")
                response = await answer_problem(HTTPConnection(scope), error)
                response.headers.update({REQUEST_ID: request_id, **SECURITY_HEADERS})
                await WebSocket(scope, receive, send).send_denial_response(response)


class Intake:
    """Refuses foreign hosts, oversized headers and lengths that two readers could differ on."""

    def __init__(self, app: ASGIApp, allowed_hosts: Sequence[str], max_header_bytes: int) -> None:
        self.app = app
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._max_header_bytes = max_header_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            self._check(scope)
        if scope["type"] == "websocket":
            _check_origin(Headers(scope=scope))
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        size = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        if size > self._max_header_bytes:
            raise HeadersTooLargeError(f"The limit is {self._max_header_bytes} bytes.")
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if "*" not in self._allowed_hosts and (
            len(hosts) != 1 or _host_name(hosts[0]) not in self._allowed_hosts
        ):
            raise BadHostError("This host name is not one of REPRISE_ALLOWED_HOSTS.")
        lengths = set(headers.getlist("content-length"))
        if len(lengths) > 1 or not all(re.fullmatch("[0-9]{1,18}", each) for each in lengths):
            raise MalformedRequestError("Send one Content-Length, a number of bytes.")


def _check_origin(headers: Headers) -> None:
    """A page of another host must not use what a browser would send along."""
    host = headers.get("host", "").strip().lower()
    origins = [origin.partition("://")[2].lower() for origin in headers.getlist("origin")]
    if origins and origins != [host]:
        raise ForbiddenError("A page may only connect to the host that it came from.")


class Gate:
    """Denies by default: only a full match of one of the public routes needs no key.

    Asking the routes themselves, rather than comparing paths, leaves no second reading of a path
    to exploit; and what is not on the list is closed, be it a route, a mount, a wrong method or
    a path that leads nowhere.
    """

    def __init__(
        self,
        app: ASGIApp,
        public: Sequence[BaseRoute],
        authenticator: Authenticator,
        requests: Limiter,
        wrong_keys: Limiter,
        usage: Usage,
    ) -> None:
        self.app = app
        self._public = tuple(public)
        self._authenticator = authenticator
        self._requests = requests
        self._wrong_keys = wrong_keys
        self._usage = usage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            # Routers read a final line break as the end of the path; nothing of ours has one.
            is_clean = not _CONTROL.search(scope["path"])
            if not (is_clean and self._is_public(scope)):
                await self._authenticate(scope)
            if not is_clean:
                raise NotFoundError("There is nothing at this path.")
        await self.app(scope, receive, send)

    def _is_public(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is Match.FULL for route in self._public)

    async def _authenticate(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        text = bearer(headers)
        if text is None:
            token = None if "authorization" in headers else browser_token(headers)
            if token is None:
                raise UnauthenticatedError("Send an Authorization header: Bearer, then an API key.")
            await self._authenticate_browser(scope, headers, token)
            return
        subject = await subject_of(text, scope, self._authenticator, self._wrong_keys)
        self._requests.hit(str(subject.key_id))
        self._usage.count(subject, "requests")
        scope["state"]["subject"] = subject

    async def _authenticate_browser(self, scope: Scope, headers: Headers, token: str) -> None:
        """By the cookie of a sign-in; a request that changes something must come from our page."""
        subject = await self._authenticator.browser(token)
        if scope["method"] not in ("GET", "HEAD"):
            check_csrf(token, headers.get(CSRF_HEADER))
        self._requests.hit(str(subject.key_id))
        self._usage.count(subject, "requests")
        scope["state"]["subject"] = subject
        scope["state"]["browser_token"] = token


def _request_id(scope: Scope) -> str:
    """The caller's id where it is a harmless one, so that its log and ours agree."""
    given = Headers(scope=scope).get(REQUEST_ID, "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)


def _host_name(host: str) -> str:
    """A Host header without its port, in lower case."""
    return re.sub(r":[0-9]*$", "", host.strip().lower())


async def subject_of(
    key: str, scope: Scope, authenticator: Authenticator, wrong_keys: Limiter
) -> Subject:
    """Who comes with a key. Raises UnauthenticatedError, or RateLimitedError after too many wrong
    ones from the address.

    A right key still passes from there: behind a proxy all callers share one. What a proxy says of
    the address is not believed.
    """
    try:
        return await authenticator.subject(key)
    except UnauthenticatedError:
        address, _ = scope.get("client") or ("local", 0)
        wrong_keys.hit(address)
        raise


def browser_token(headers: Headers) -> str | None:
    """The cookie of a browser that signed in; None: there is none."""
    cookies = cookie_parser(headers.get("cookie", ""))
    return cookies.get(SECURE_COOKIE) or cookies.get(COOKIE)


def bearer(headers: Headers) -> str | None:
    """The key in the headers of a request; None: there is none that can be read."""
    values = headers.getlist("authorization")
    if len(values) != 1:
        return None
    scheme, _, text = values[0].partition(" ")
    return text.strip() if scheme.lower() == "bearer" and text.strip() else None
