"""`/changes`: says that something happened to the workspace's jobs, for who shows many of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import Response
from fastapi.sse import EventSourceResponse, format_sse_event

from service.api.deps import ServicesDep
from service.api.news import News
from service.api.routing import produces, protected_router, requires
from service.auth.subjects import Scope, Subject

router = protected_router("/changes", tags=["jobs"])

EVENT_STREAM = "text/event-stream"
QUIET_SECONDS = 10.0  # then a comment, which shows both ends that the other one is there
LEAST_SECONDS = 1.0  # between two events: a job that trains changes many times a second
RECONNECT_MS = 1000


@router.get("", responses={200: {"content": {EVENT_STREAM: {}}}}, response_model=None)
@produces(EVENT_STREAM)
async def follow_changes(
    subject: Annotated[Subject, requires(Scope.JOBS_READ)], services: ServicesDep
) -> Response:
    """Server-sent events `jobs`, without data, at most one a second: read the lists again.

    The first one comes at once, so that who lost the connection misses nothing.
    """
    return EventSourceResponse(
        _changes(services.news, subject.workspace_id),
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _changes(news: News, workspace_id: UUID) -> AsyncIterator[bytes]:
    with news.subscribe(workspace_id) as bell:
        yield format_sse_event(retry=RECONNECT_MS, event="jobs", data_str="{}")
        while not news.closed:
            if await bell.wait(QUIET_SECONDS):
                yield format_sse_event(event="jobs", data_str="{}")
                await asyncio.sleep(LEAST_SECONDS)
            else:
                yield format_sse_event(comment="waiting")
