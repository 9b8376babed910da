"""The steps of a session over a WebSocket: a message each, answered in order.

The key comes in the header, or in the first message, since pages in a browser cannot set headers;
those may only connect from the host that they call. An error is a problem document, as in HTTP; one
that no further message can mend ends the connection.
"""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, WebSocket
from starlette.requests import ClientDisconnect
from starlette.types import Message
from starlette.websockets import WebSocketDisconnect

from service.api import strict_json
from service.api.deps import Services
from service.api.direct import unless_gone, validated
from service.api.middleware import bearer, subject_of
from service.api.problems import answer_problem, to_service_error
from service.api.schemas.sessions import SessionStep
from service.api.sessions import take_step, view
from service.auth.subjects import Scope, Subject
from service.errors import (
    BodyTooLargeError,
    ForbiddenError,
    MalformedJsonError,
    UnauthenticatedError,
)

log = logging.getLogger(__name__)
router = APIRouter(prefix="/sessions", tags=["sessions"])

KEY_SECONDS = 10.0  # for the first message, where it has to bring the key
MESSAGES_AHEAD = 8  # read while a step is computed; who sends more is not seen to leave
FINAL = frozenset({401, 403, 404, 410, 413})
POLICY, DONE, DEFECT = 1008, 1000, 1011  # codes of RFC 6455


@router.websocket("/{session_id}/stream")
async def stream(socket: WebSocket, session_id: str) -> None:
    """First the session as GET shows it, then an answer to each step."""
    services: Services = socket.app.state.services
    key = bearer(socket.headers)
    if key is not None:
        await _owner(socket, services, key)  # its error still is an answer to the handshake
    await socket.accept()
    with suppress(WebSocketDisconnect, ClientDisconnect):
        await _begin(socket, services, session_id, key)


async def _begin(socket: WebSocket, services: Services, session_id: str, key: str | None) -> None:
    try:
        if key is None:
            async with asyncio.timeout(KEY_SECONDS):
                first = await socket.receive()
            key = _key(_value(first, services))
        subject = await _subject(socket, services, key)
        session = await services.sessions.get(subject.workspace_id, session_id)
        await socket.send_text(view(services, session).model_dump_json())
    except WebSocketDisconnect:
        raise
    except TimeoutError:
        await _tell(socket, UnauthenticatedError("No message brought a key."))
        await socket.close(POLICY)
        return
    except Exception as error:
        await _tell(socket, error)
        await socket.close(POLICY)
        return
    await _serve(socket, services, session_id, key)


async def _serve(socket: WebSocket, services: Services, session_id: str, key: str) -> None:
    ahead: deque[Message] = deque()

    async def hung_up() -> None:
        while len(ahead) < MESSAGES_AHEAD:
            received = await socket.receive()
            if received["type"] == "websocket.disconnect":
                return
            ahead.append(received)
        await asyncio.Event().wait()

    while True:
        try:
            async with asyncio.timeout(services.settings.session_idle_seconds):
                received = ahead.popleft() if ahead else await socket.receive()
            message = _value(received, services)
            subject = await _subject(socket, services, key)  # a key may have been revoked
            step = take_step(services, subject, session_id, validated(SessionStep, message))
            answer = await unless_gone(step, hung_up)
            await socket.send_text(answer.decode())
        except (WebSocketDisconnect, ClientDisconnect):
            raise
        except TimeoutError:
            await socket.close(DONE, "idle")
            return
        except Exception as error:
            status = await _tell(socket, error)
            if status in FINAL or status == 500:
                await socket.close(DEFECT if status == 500 else POLICY)
                return


async def _owner(socket: WebSocket, services: Services, key: str) -> Subject:
    return await subject_of(key, socket.scope, services.authenticator, services.wrong_keys)


async def _subject(socket: WebSocket, services: Services, key: str) -> Subject:
    """Who sends a message, which counts as a request does."""
    subject = await _owner(socket, services, key)
    if Scope.PREDICT not in subject.scopes:
        raise ForbiddenError(f"The key lacks the scope {Scope.PREDICT}.")
    services.requests.hit(str(subject.key_id))
    services.usage.count(subject, "requests")
    return subject


def _value(received: Message, services: Services) -> Any:
    """Of a message; raises WebSocketDisconnect where it is the end."""
    if received["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(received["code"], received.get("reason"))
    text = received.get("text")
    if text is None:
        raise MalformedJsonError("Send text messages.")
    limit = services.settings.max_body_bytes
    data = text.encode()
    if len(data) > limit:
        raise BodyTooLargeError(f"The message has {len(data)} bytes; the limit is {limit}.")
    return strict_json.parse(data)


def _key(value: Any) -> str:
    """Of the first message."""
    match value:
        case {"key": str(key)} if len(value) == 1:
            return key
    raise UnauthenticatedError('Send an Authorization header, or {"key": "rp_..."} first.')


async def _tell(socket: WebSocket, error: Exception) -> int:
    """Sends an error as a problem document; returns its status."""
    problem = await answer_problem(socket, error)
    if to_service_error(error).status == 500:
        log.error("a step over a WebSocket failed", exc_info=error)
    await socket.send_text(bytes(problem.body).decode())
    return problem.status_code
