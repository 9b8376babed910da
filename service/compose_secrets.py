"""Writes the secrets that the containers of docker-compose.yml share, once, into a folder.

Run by its service `secrets` before anything else: `python -m service.compose_secrets FOLDER`.
Each password is made the first time and kept from then on. What contains one (the addresses that
`service.settings` reads, Redis' configuration) is written again at every start.
"""

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

# Every container sees the folder through a volume of its own group; the users in them differ.
MODE = 0o444


def write_secrets(folder: Path) -> None:
    """Fills `folder`; the passwords that it has stay as they are."""
    postgres = _password(folder / "postgres_password")
    redis = _password(folder / "redis_password")
    files: Mapping[str, str] = {
        "reprise_database_url": f"postgresql+psycopg://reprise:{postgres}@postgres:5432/reprise",
        "reprise_redis_url": f"redis://:{redis}@redis:6379/0",
        "redis.conf": f"requirepass {redis}",
    }
    for name, content in files.items():
        _write(folder / name, content)


def _password(path: Path) -> str:
    if not path.exists():
        _write(path, secrets.token_urlsafe(32))  # nothing in it needs an escape in any of the files
    return path.read_text().strip()


def _write(path: Path, content: str) -> None:
    """Whole or not at all: a half-written password would be kept for ever."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "w") as file:
        file.write(content + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


if __name__ == "__main__":
    write_secrets(Path(sys.argv[1]))
