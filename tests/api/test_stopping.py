"""What an API process leaves behind."""

import asyncio
import threading

from fastapi import FastAPI
from sqlalchemy import QueuePool, text
from starlette.testclient import TestClient


def test_a_look_up_under_way_leaves_no_connection_open(app: FastAPI) -> None:
    database = app.state.services.database
    begun = threading.Event()
    stopping = threading.Event()

    def late() -> None:
        begun.set()
        stopping.wait(10)
        with database.transaction() as db:
            db.execute(text("SELECT 1"))

    async def look_up() -> None:
        app.state.look_up = asyncio.create_task(asyncio.to_thread(late))

    with TestClient(app) as client:
        assert client.portal is not None
        client.portal.call(look_up)
        assert begun.wait(10)
        threading.Timer(0.5, stopping.set).start()
    assert stopping.wait(10)
    app.state.look_up = None
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)
    assert (pool.checkedin(), pool.checkedout()) == (0, 0)
