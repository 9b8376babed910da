"""Signatures by which this installation knows again what it gave out.

The secret is a file in the artifact folder, which all hosts share. The first process that needs it
makes it; without it, names and exported states of before are unknown.
"""

import hashlib
import hmac
import os
import secrets
import tempfile
from functools import cached_property
from pathlib import Path

FILE = "signing.key"
SECRET_BYTES = 32


class Signer:
    """Signs for different purposes, of which none can stand for another."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def sign(self, purpose: str, *parts: bytes) -> bytes:
        """32 bytes that nobody else can make of these parts (HMAC-SHA256)."""
        digest = hmac.new(self._secret, purpose.encode(), hashlib.sha256)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.digest()

    @cached_property
    def _secret(self) -> bytes:
        path = self._folder / FILE
        if not path.exists():
            _create(path)
        return path.read_bytes()


def _create(path: Path) -> None:
    """Whole or not at all; of several processes the first one's stays."""
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        Path(name).unlink()
