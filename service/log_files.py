"""Logs that a program prints to for as long as it runs, kept within a size.

What is older lies in `<name>.1`. The program keeps its file open for appending, and is not asked.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path


def previous(path: Path) -> Path:
    """Where what is older is kept."""
    return path.with_name(f"{path.name}.1")


def keep_end(path: Path, max_bytes: int) -> None:
    """Makes room where a log has half of what it may have: its end becomes the older file, and it
    begins anew. What is printed in between, within microseconds, is lost. A full disk leaves the
    log as it is: it cannot grow either.
    """
    half = max_bytes // 2
    with suppress(OSError), path.open("rb+") as log:
        size = log.seek(0, os.SEEK_END)
        if size > half:
            log.seek(size - half)
            with previous(path).open("wb") as kept:
                shutil.copyfileobj(log, kept)
            log.truncate(0)


def read_end(path: Path, max_bytes: int) -> tuple[str, bool]:
    """The last `max_bytes` as text, and whether there is more before; empty where there is none."""
    found, more = b"", False
    for part in (path, previous(path)):
        with suppress(FileNotFoundError), part.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            wanted = max_bytes - len(found)
            more = size > wanted
            file.seek(max(0, size - wanted))
            found = file.read(wanted) + found
        if more:
            break
    return found.decode("utf-8", "replace"), more
