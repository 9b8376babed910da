"""What one instance needs for itself before it starts anything: its folder and its port."""

import errno
import fcntl
import json
import os
import socket
from pathlib import Path
from typing import IO

from service.embedded.children import StartError
from service.embedded.folders import private_folder, runtime_folder


class Instance:
    """A data folder held by this process alone, and the port that the API will listen on.

    The lock goes with the process, however it ends. The socket is opened here and handed to the
    API process, so that a taken port is found at once and a restart of the API refuses nobody.
    """

    def __init__(self, folder: Path, host: str, port: int) -> None:
        self.folder = folder.absolute()
        self._lock = _lock(self.folder)
        try:
            self.runtime = runtime_folder(self.folder)
            self.listening = _listen(host, port)
        except BaseException:
            self._lock.close()
            raise
        self.port: int = self.listening.getsockname()[1]
        self.address = f"http://{_reachable(host)}:{self.port}"
        self._lock.truncate(0)
        self._lock.write(
            json.dumps({"pid": os.getpid(), "address": self.address, "runtime": str(self.runtime)})
        )
        self._lock.flush()

    def close(self) -> None:
        self.listening.close()
        self._lock.close()


def _lock(folder: Path) -> IO[str]:
    try:
        private_folder(folder)
        lock = (folder / "lock").open("a+")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise StartError(f"The folder {folder} cannot be written to: {reason}.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        other = running_instance(folder) or {}
        lock.close()
        raise StartError(
            f"Reprise runs already on the folder {folder}"
            f" (process {other.get('pid', 'unknown')}, {other.get('address', 'starting')})."
        ) from None
    except OSError as error:
        lock.close()
        raise StartError(f"The folder {folder} cannot be locked: {error.strerror}.") from None
    return lock


def running_instance(folder: Path) -> dict[str, object] | None:
    """Process, address and socket folder of the instance on `folder`; None when there is none.

    Empty while it starts.
    """
    try:
        with (folder / "lock").open("r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found = json.loads(lock.read() or "{}")
                return found if isinstance(found, dict) else {}
            return None
    except FileNotFoundError:
        return None
    except PermissionError:
        raise StartError(f"The folder {folder} belongs to another user.") from None
    except ValueError:
        return {}


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listening = socket.create_server(
            (str(address[0]), port), family=family, backlog=2048, reuse_port=False
        )
    except (OSError, UnicodeError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise StartError(
            f"Port {port} of {host} is taken by another program; choose one with --port."
            if taken
            else f"Port {port} of {host} cannot be used: {error}."
        ) from None
    return listening


def _reachable(host: str) -> str:
    """How this machine calls `host`, written as in a URL."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104  # compared, not listened on
        return "127.0.0.1" if host != "::" else "[::1]"
    return f"[{host}]" if ":" in host else host
