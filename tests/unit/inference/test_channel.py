"""The engine's end of its connection, when it is closed."""

import os
import select
import socket
import threading

from service.inference.channel import Channel


def test_a_wake_after_the_end_reaches_nobody() -> None:
    """A network may be loaded after the stop, when other files have got the descriptors."""
    ours, theirs = socket.socketpair()
    channel = Channel(theirs)
    descriptors = channel._woken, channel._waking
    channel.close()
    others = os.pipe()
    assert set(others) & set(descriptors), "the system gives the lowest that is free"
    channel.wake()
    readable, _, _ = select.select([others[0]], [], [], 0)
    assert not readable
    ours.close()
    for other in others:
        os.close(other)


def test_a_wake_ends_a_wait() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(theirs)
    thread = threading.Thread(target=channel.wake)
    thread.start()
    assert channel.receive(wait=True) == []
    thread.join()
    channel.close()
    ours.close()
