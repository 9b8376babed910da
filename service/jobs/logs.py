"""What a trainer printed: one file an attempt."""

import os
from pathlib import Path
from uuid import UUID

from service.artifacts.store import ArtifactStore

NAME = "trainer.log"


def log_path(artifacts: ArtifactStore, job_id: UUID, attempt: int) -> Path:
    return artifacts.attempt_dir(job_id, attempt) / NAME


def read_tail(path: Path, max_bytes: int) -> tuple[str, bool]:
    """The last `max_bytes` as text, and whether there is more before; empty where there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - max_bytes))
            return file.read(max_bytes).decode("utf-8", "replace"), size > max_bytes
    except FileNotFoundError:
        return "", False
