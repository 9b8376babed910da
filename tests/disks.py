"""Where the tests write, and small file systems that can be filled until nothing fits any more."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

SIZE_BYTES = 16 * 2**20
SHARED = Path("/dev/shm")
ROOM_BYTES = 6 * 2**30  # more than all tests together write
MOST_SHARED_BYTES = 256 * 2**20
MOUNT = 'mount -t tmpfs -o "size=$1" tmpfs "$2" && echo mounted && exec sleep infinity'
APART = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, "sh")


def in_memory() -> Path | None:
    """A file system in memory, where it has room and programs on it may be run."""
    try:
        state = os.statvfs(SHARED)
    except OSError:
        return None
    has_room = state.f_bavail * state.f_frsize >= ROOM_BYTES
    return SHARED if has_room and not state.f_flag & os.ST_NOEXEC else None


def place() -> Path:
    """For folders with sockets in them: their paths must be short."""
    return in_memory() or Path("/tmp")


class Disk:
    """A folder on a file system of its own, or on one that hardly anybody uses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Until not a byte more can be written."""
        piece = bytes(2**16)
        with self._ballast.open("ab", buffering=0) as ballast:
            while piece:
                try:
                    ballast.write(piece)
                except OSError:
                    piece = piece[: len(piece) // 2]

    def free(self) -> None:
        """As it was before."""
        self._ballast.unlink()


@contextmanager
def small_disk() -> Iterator[Disk]:
    """Raises OSError where none can be had."""
    with ExitStack() as stack:
        for way in (_mounted, _mounted_apart, _shared):
            try:
                folder = stack.enter_context(way())
            except OSError:
                continue
            yield Disk(folder)
            return
    raise OSError("there is no small file system, and none can be mounted")


def has_small_disk() -> bool:
    """Whether there can be one here."""
    try:
        with small_disk():
            return True
    except OSError:
        return False


@contextmanager
def _mounted() -> Iterator[Path]:
    """A tmpfs, which root may mount."""
    with tempfile.TemporaryDirectory(prefix="reprise-disk-") as point:
        _run("mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", point)
        try:
            yield Path(point)
        finally:
            _run("umount", "--lazy", point)


@contextmanager
def _mounted_apart() -> Iterator[Path]:
    """A tmpfs in namespaces of its own, where everybody may mount; others reach it by /proc."""
    with tempfile.TemporaryDirectory(prefix="reprise-disk-") as point:
        keeper = subprocess.Popen(
            [*APART, str(SIZE_BYTES), point],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        with keeper:
            try:
                assert keeper.stdout is not None
                if not keeper.stdout.readline():
                    raise OSError("there are no namespaces here")
                yield Path(f"/proc/{keeper.pid}/root{point}")
            finally:
                keeper.kill()


@contextmanager
def _shared() -> Iterator[Path]:
    """The shared memory, where it is as small as in a container."""
    state = os.statvfs(SHARED)
    if state.f_blocks * state.f_frsize > MOST_SHARED_BYTES:
        raise OSError("it is too large to fill")
    with tempfile.TemporaryDirectory(prefix="reprise-disk-", dir=SHARED) as folder:
        yield Path(folder)


def _run(*command: str) -> None:
    if subprocess.run(command, check=False, capture_output=True).returncode:
        raise OSError(f"{command[0]} is not allowed here")
