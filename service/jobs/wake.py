"""Tells a worker that there is work. A hint and no more: the row in PostgreSQL is the truth.

A lost message delays a job until a worker looks by itself; a doubled one is harmless.
"""

import logging
from urllib.parse import parse_qs, urlsplit

from celery import Celery

log = logging.getLogger(__name__)

WAKE_TASK = "reprise.wake"
SEND_SECONDS = 0.4  # for a Redis that does not answer; the caller answers within a second


def wake_queue(queue: str) -> str:
    """The message queue of the workers that claim from `queue`."""
    return f"reprise.{queue}"


def broker_url(redis_url: str) -> str:
    """A Redis address as Celery spells it: it has its own form for unix sockets."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    database = parse_qs(parts.query).get("db", ["0"])[0]
    secret = f":{parts.password}@" if parts.password else ""  # is quoted already
    return f"redis+socket://{secret}{parts.path}?virtual_host={database}"


class Waker:
    """Sends wake-ups within a bounded time; a failure is logged and never raised."""

    def __init__(self, redis_url: str) -> None:
        self._celery = Celery("reprise", broker=broker_url(redis_url), set_as_current=False)
        self._celery.conf.update(
            task_ignore_result=True,
            task_serializer="json",
            broker_connection_timeout=SEND_SECONDS,
            broker_transport_options={
                "socket_connect_timeout": SEND_SECONDS,
                "socket_timeout": SEND_SECONDS,
                "max_retries": 0,
                "connect_retries_timeout": SEND_SECONDS,
                "retry_on_timeout": False,
            },
        )

    def wake(self, queue: str, *, passes: int = 0) -> bool:
        """Rings one worker of `queue`; `passes` counts the workers that were busy before it.

        The message names its queue: a worker that serves several passes it on to the right one.
        """
        try:
            self._celery.send_task(
                WAKE_TASK,
                args=[queue, passes],
                queue=wake_queue(queue),
                retry=False,
                ignore_result=True,
            )
        except Exception as error:  # whatever the client of the moment raises: it was a hint
            log.warning("no wake-up was sent to %s: %s", queue, error)
            return False
        return True

    def close(self) -> None:
        self._celery.close()
