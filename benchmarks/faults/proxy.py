"""A TCP door to Redis for each process, that can die without telling either side.

It stands between Celery and a Redis that listens on a unix socket. `cut` leaves both ends of each
connection open and passes nothing on any more, as when a machine or a switch in between is gone:
neither side learns of it from the network. Connections that are made later work.
"""

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

WAITS = b"BRPOP"  # how a worker asks for messages
READ_BYTES = 65_536


class Door:
    """A port of 127.0.0.1 behind which Redis is.

    `on_wait` is called, from a thread of the door, whenever a request for messages was passed on to
    a Redis that is there.
    """

    def __init__(self, redis_socket: Path, on_wait: Callable[[], None]) -> None:
        self._redis_socket = redis_socket
        self._on_wait = on_wait
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: set[_Connection] = set()
        self._dead: list[_Connection] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"

    def cut(self) -> int:
        """Leaves every connection half open; returns how many there were."""
        with self._lock:
            cut, self._open = self._open, set()
            self._dead.extend(cut)
        for connection in cut:
            connection.passes = False
        return len(cut)

    def bury(self) -> None:
        """Has Redis find out that the other end of the cut connections is gone."""
        with self._lock:
            dead, self._dead = self._dead, []
        for connection in dead:
            connection.close()

    def close(self) -> None:
        self._listening.close()
        self.cut()
        self.bury()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            redis = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                redis.connect(str(self._redis_socket))
            except OSError:
                client.close()
                redis.close()
                continue
            connection = _Connection(client, redis)
            with self._lock:
                self._open.add(connection)
            threading.Thread(target=self._pass_on, args=(connection,), daemon=True).start()

    def _pass_on(self, connection: "_Connection") -> None:
        connection.run(self._on_wait)
        with self._lock:
            if connection in self._open:  # it ended by itself
                self._open.discard(connection)
                connection.close()


class _Connection:
    def __init__(self, client: socket.socket, redis: socket.socket) -> None:
        self._client, self._redis = client, redis
        self.passes = True

    def run(self, on_wait: Callable[[], None]) -> None:
        """Until one side closes, or it is cut."""
        other = {self._client: self._redis, self._redis: self._client}
        with selectors.DefaultSelector() as ready, suppress(OSError, ValueError):
            for end in other:
                ready.register(end, selectors.EVENT_READ)
            while self.passes:
                for key, _ in ready.select(0.2):
                    source = self._client if key.fileobj is self._client else self._redis
                    data = source.recv(READ_BYTES)
                    if not data or not self.passes:
                        return
                    other[source].sendall(data)
                    if source is self._client and WAITS in data:
                        on_wait()

    def close(self) -> None:
        for end in (self._client, self._redis):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
