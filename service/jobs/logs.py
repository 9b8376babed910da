"""What a trainer printed: one log an attempt."""

from pathlib import Path
from uuid import UUID

from service.artifacts.store import ArtifactStore

NAME = "trainer.log"


def log_path(artifacts: ArtifactStore, job_id: UUID, attempt: int) -> Path:
    return artifacts.attempt_dir(job_id, attempt) / NAME
