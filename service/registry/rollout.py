"""A version is in the memory of every API process before an alias moves to it."""

import json
import logging
import time
from collections.abc import Callable
from uuid import uuid4

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from service.db.engine import Database
from service.db.notifications import LISTENER, VERSIONS_LOADED, connection_string, notify

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0  # a worker's lease is longer
CONNECT_SECONDS = 2


def roll_out(database_url: str, announce: Callable[[str], None]) -> None:
    """Has every API process load a version; returns when all have, or after PATIENCE_SECONDS. Who
    is later loads it nevertheless, and has the first request wait for it.

    Args:
        announce: `service.registry.store.announce` in a transaction, with the number that it is
            given. Its errors are raised, and no others.
    """
    number = uuid4().hex
    try:
        with psycopg.connect(
            connection_string(database_url), autocommit=True, connect_timeout=CONNECT_SECONDS
        ) as connection:
            connection.execute(f"LISTEN {VERSIONS_LOADED}".encode())
            missing = _listeners(connection)
            announce(number)
            missing -= _answers(connection, number, missing)
        if missing:
            log.warning("%d API processes have not loaded a version in time", missing)
    except psycopg.Error as error:
        log.warning("a version is not loaded before requests come: %s", error)


def tell_loaded(database: Database, number: str) -> None:
    """Says that this API process has loaded what was announced with a number, or never will."""
    try:
        with database.transaction() as db:
            notify(db, VERSIONS_LOADED, {"number": number})
    except SQLAlchemyError as error:
        log.warning("cannot say that a version is loaded: %s", error)


def _listeners(connection: psycopg.Connection) -> int:
    """API processes that hear of versions."""
    found = connection.execute(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = %s",
        [LISTENER],
    ).fetchone()
    return found[0] if found else 0


def _answers(connection: psycopg.Connection, number: str, wanted: int) -> int:
    """How many have come, at most those that are wanted."""
    deadline, come = time.monotonic() + PATIENCE_SECONDS, 0
    while come < wanted and (left := deadline - time.monotonic()) > 0:
        for news in connection.notifies(timeout=left, stop_after=1):
            come += json.loads(news.payload)["number"] == number
    return come
