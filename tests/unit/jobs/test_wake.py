import json
import socket
import time

import pytest
import redis

from service.jobs.wake import Waker, broker_url


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("redis://host:6379/2", "redis://host:6379/2"),
        ("unix:///run/my.sock?db=3", "redis+socket:///run/my.sock?virtual_host=3"),
        ("unix:///run/my.sock", "redis+socket:///run/my.sock?virtual_host=0"),
        ("unix://:p%40ss@/run/my.sock", "redis+socket://:p%40ss@/run/my.sock?virtual_host=0"),
    ],
)
def test_broker_url(address: str, expected: str) -> None:
    assert broker_url(address) == expected


def test_a_wake_up_is_a_message_in_the_queue(redis_url: str) -> None:
    waker = Waker(redis_url)
    assert waker.wake("cpu", passes=2)
    waker.close()
    with redis.Redis.from_url(redis_url) as client:
        message = json.loads(client.lpop("reprise.cpu"))
    assert message["headers"]["task"] == "reprise.wake"
    assert message["headers"]["argsrepr"] == "['cpu', 2]"


def test_no_redis_costs_little_and_raises_nothing(caplog: pytest.LogCaptureFixture) -> None:
    began = time.monotonic()
    assert not Waker("unix:///nowhere/redis.sock").wake("cpu")
    assert time.monotonic() - began < 1
    assert "no wake-up was sent to cpu" in caplog.text


def test_a_silent_redis_costs_less_than_a_second() -> None:
    """A half-open connection: accepted by the kernel, never answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        waker = Waker(f"redis://127.0.0.1:{server.getsockname()[1]}/0")
        began = time.monotonic()
        assert not waker.wake("cpu")
        assert time.monotonic() - began < 1


def test_it_works_again_when_redis_is_back(redis_url: str) -> None:
    waker = Waker(redis_url)
    assert waker.wake("cpu")
    with redis.Redis.from_url(redis_url) as client:
        client.client_kill_filter(skipme=True)
        assert waker.wake("cpu") or waker.wake("cpu")
        assert client.llen("reprise.cpu") == 2
    waker.close()
