"""Where the embedded servers keep their things: the data folder, and a short one for sockets."""

import hashlib
import os
import secrets
import stat
from pathlib import Path

from service.embedded.children import StartError


def private_folder(path: Path) -> Path:
    """Makes `path` (parents too) a folder of the owner alone."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def runtime_folder(data: Path) -> Path:
    """A short private folder for the sockets of the instance whose data is in `data`.

    A socket's path may have 107 bytes, a data folder can be deeper than that. The name follows
    from the data folder, so that the command line finds a running instance.
    """
    name = hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:12]
    session = os.environ.get("XDG_RUNTIME_DIR", "")
    base = Path(session, "reprise") if session and len(os.fsencode(session)) <= 60 else None
    if base is None or not _usable(base.parent):
        base = Path("/tmp", f"reprise-{os.geteuid()}")  # noqa: S108  # private and checked below
    for folder in (base, base / name):
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
        # Somebody else may have made a folder of this name in /tmp to read what we write there.
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid():
            raise StartError(f"{folder} belongs to another user; remove it and try again.")
        folder.chmod(0o700)
    return base / name


def _usable(folder: Path) -> bool:
    try:
        return folder.stat().st_uid == os.geteuid() and os.access(folder, os.W_OK)
    except OSError:
        return False


def secret(path: Path) -> str:
    """The secret kept in `path`, made at the first use; readable by its owner alone."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        private_folder(path.parent)
    value = secrets.token_urlsafe(32)
    temporary = path.with_name(path.name + ".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return value
