"""A job's events as server-sent events: from the first unseen one to the end of the job.

The stream holds no connection to the database while it waits, and outlives a restart of it. A
client that left is noticed by Starlette, which cancels the generator.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from fastapi.sse import format_sse_event
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.concurrency import run_in_threadpool

from service.api.news import News
from service.api.schemas.jobs import EventView
from service.db.engine import Database
from service.db.tables import JobEvent
from service.jobs import store

log = logging.getLogger(__name__)

BATCH = 200
LOOK_SECONDS = 5.0  # reads the rows even if nobody rang, and shows the client that we are here
RETRY_SECONDS = 1.0
RECONNECT_MS = 1000


async def follow(database: Database, news: News, job_id: UUID, after: int) -> AsyncIterator[bytes]:
    """Server-sent events with `id` = `seq`; ends after the last one of a job that has ended."""
    yield format_sse_event(retry=RECONNECT_MS, comment=f"events of job {job_id}")
    with news.subscribe(job_id) as bell:
        while not news.closed:
            try:
                events, ended = await run_in_threadpool(_read, database, job_id, after)
            except (OperationalError, PoolTimeoutError) as error:
                log.warning("cannot read the events of job %s now: %s", job_id, error)
                yield format_sse_event(comment="the database does not answer")
                await asyncio.sleep(RETRY_SECONDS)
                continue
            for event in events:
                yield encode(event)
                after = event.seq
            if ended:
                return
            if len(events) < BATCH and not await bell.wait(LOOK_SECONDS):
                yield format_sse_event(comment="waiting")


def encode(event: JobEvent) -> bytes:
    data = EventView.model_validate(event).model_dump(mode="json")
    return format_sse_event(
        data_str=json.dumps(data, separators=(",", ":"), ensure_ascii=False),
        event=event.type,
        id=str(event.seq),
    )


def _read(database: Database, job_id: UUID, after: int) -> tuple[Sequence[JobEvent], bool]:
    with database.transaction() as db:
        return store.events_to_end(db, job_id, after, limit=BATCH)
