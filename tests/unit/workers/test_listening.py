"""The wake-up consumer, in this process, against a real Redis."""

import threading
from collections.abc import Iterator

import pytest
import redis

from service.jobs.wake import WAKE_TASK, Waker
from tests.integration.machine import wait_for
from workers.listening import WakeListener, make_celery


class Rings:
    def __init__(self) -> None:
        self.messages: list[tuple[str, int]] = []
        self.rung = threading.Event()

    def __call__(self, queue: str, passes: int) -> None:
        self.messages.append((queue, passes))
        self.rung.set()


@pytest.fixture
def rings(redis_url: str) -> Iterator[Rings]:
    rings = Rings()
    listener = WakeListener(make_celery(redis_url, rings), ("gpu", "cpu"))
    listener.start()
    yield rings
    listener.stop()
    listener.join(10)
    assert not listener.is_alive()


@pytest.fixture
def waker(redis_url: str) -> Iterator[Waker]:
    waker = Waker(redis_url)
    yield waker
    waker.close()


def test_the_task_that_is_announced_is_registered(redis_url: str) -> None:
    assert WAKE_TASK in make_celery(redis_url, lambda _queue, _passes: None).tasks


def test_a_wake_up_rings(rings: Rings, waker: Waker) -> None:
    waker.wake("cpu")
    waker.wake("gpu", passes=3)
    wait_for(lambda: sorted(rings.messages) == [("cpu", 0), ("gpu", 3)], "two wake-ups")


def test_it_rings_again_after_its_connections_were_cut(
    rings: Rings, waker: Waker, redis_url: str
) -> None:
    """The worker that is alive and consumes nothing after a reset of the broker."""
    waker.wake("cpu")
    assert rings.rung.wait(20)
    with redis.Redis.from_url(redis_url) as client:
        for _ in range(3):
            client.client_kill_filter(skipme=True)
    rings.messages.clear()
    wait_for(lambda: waker.wake("cpu") and rings.messages, "a wake-up after the cut", 30)


def test_a_message_that_is_none_does_not_end_it(rings: Rings, waker: Waker, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.lpush("reprise.cpu", b"garbage")
    wait_for(lambda: waker.wake("cpu") and rings.messages, "a wake-up after the garbage", 30)
