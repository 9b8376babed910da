"""The Celery side of a worker: a doorbell. Work itself is found in PostgreSQL."""

import logging
import threading
from collections.abc import Callable

from celery import Celery
from celery.worker import WorkController, state

from service.jobs.wake import WAKE_TASK, broker_url, wake_queue

log = logging.getLogger(__name__)

RESTART_SECONDS = 5.0


def make_celery(redis_url: str, on_wake: Callable[[str, int], None]) -> Celery:
    """The application with its one task. Messages are acknowledged at once: they are hints."""
    app = Celery("reprise", broker=broker_url(redis_url), set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_acks_late=False,
        task_ignore_result=True,
        result_backend=None,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,  # there are none
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        broker_transport_options={
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    )

    def wake(queue: str, passes: int) -> None:
        """There may be work in `queue`, which this worker serves."""
        on_wake(queue, passes)

    # shared would register it with every application of the process
    app.task(wake, name=WAKE_TASK, ignore_result=True, shared=False)
    app.finalize()
    return app


class WakeListener(threading.Thread):
    """Consumes wake-ups in a thread beside the slots, which work on without it.

    The pool is `solo`: a task runs in this thread and does nothing but ring. A controller that
    ends, whatever the reason, is replaced.
    """

    def __init__(self, app: Celery, queues: tuple[str, ...]) -> None:
        super().__init__(name="wake-listener", daemon=True)
        self._app = app
        self._queues = [wake_queue(queue) for queue in queues]
        self._over = threading.Event()

    def run(self) -> None:
        state.should_stop = None
        self._app.set_current()  # of this thread: Celery runs a task with the current application's
        while not self._over.is_set():
            try:
                WorkController(
                    app=self._app,
                    queues=self._queues,
                    pool="solo",
                    concurrency=1,
                    use_eventloop=False,
                    without_heartbeat=True,
                    without_mingle=True,
                    without_gossip=True,
                ).start()
            except Exception:
                log.exception("the wake-up consumer ended")
            self._over.wait(RESTART_SECONDS)

    def stop(self) -> None:
        """Asks it to end. Nobody waits for it: it may be waiting for a dead Redis itself."""
        self._over.set()
        state.should_stop = 0
