"""The engine's end of its connection with the API process."""

import os
import select
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress

from service.inference.messages import Frames, FromEngine, ToEngine, to_frame

READ_BYTES = 2**20


class ClosedError(Exception):
    """The API process has closed its end, or is gone."""


class Channel:
    """Used by one thread, but for `wake` and `send`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._frames: Frames[ToEngine] = Frames(ToEngine)
        self._closing = threading.Lock()  # closed, its descriptors may be those of other files
        self._closed = False
        self._sending = threading.Lock()  # a frame is not cut by another
        self._woken, self._waking = os.pipe()
        os.set_blocking(self._waking, False)
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._poll.register(self._woken, select.POLLIN)

    def wake(self) -> None:
        """Ends a `receive` that waits, if anybody does; from any thread, after `close` too."""
        with self._closing, suppress(BlockingIOError):  # it is woken already
            if not self._closed:
                os.write(self._waking, b"x")

    def receive(self, *, wait: bool) -> list[ToEngine]:
        """What has come; waits until something has or it is woken. Raises ClosedError."""
        messages: list[ToEngine] = []
        for descriptor, _ in self._poll.poll(None if wait else 0):
            if descriptor == self._woken:
                os.read(self._woken, READ_BYTES)
                continue
            try:
                data = self._connection.recv(READ_BYTES)
            except ConnectionError as error:
                raise ClosedError from error
            if not data:
                raise ClosedError
            messages.extend(self._frames.push(data))
        return messages

    def send(self, messages: Sequence[FromEngine]) -> None:
        """Waits while the other end does not read. Raises ClosedError."""
        frame = to_frame(messages)
        try:
            with self._sending:
                self._connection.sendall(frame)
        except ConnectionError as error:
            raise ClosedError from error

    def close(self) -> None:
        with self._closing:
            self._closed = True
            os.close(self._woken)
            os.close(self._waking)
        self._connection.close()
