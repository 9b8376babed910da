import threading
import time

from workers.room import Doorbell


def test_a_ring_before_the_wait_is_not_lost() -> None:
    bell = Doorbell()
    seen = bell.rings()
    bell.ring()
    began = time.monotonic()
    bell.wait(seen, timeout_seconds=5)
    assert time.monotonic() - began < 1


def test_a_ring_wakes_everybody() -> None:
    bell = Doorbell()
    seen = bell.rings()
    threads = [threading.Thread(target=bell.wait, args=(seen, 30)) for _ in range(4)]
    for thread in threads:
        thread.start()
    bell.ring()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def test_without_a_ring_the_wait_ends_by_itself() -> None:
    bell = Doorbell()
    began = time.monotonic()
    bell.wait(bell.rings(), timeout_seconds=0.1)
    assert 0.09 < time.monotonic() - began < 2
