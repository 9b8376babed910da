"""Removes the files that nobody needs any more, once an hour, in a thread beside the reaper.

Whoever deletes a row or ends a job removes its files after the commit. Here go those that were left
behind, because a process died or a disk was away, and those of deleted data sets, which others with
the same bytes may share.
"""

import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

from service.artifacts.store import ArtifactStore
from service.datasets.store import lock_bytes, needs_bytes
from service.db.engine import Database
from service.jobs.endings import forget_checkpoints, unfinished_attempts
from service.jobs.transitions import Attempt
from service.registry.store import named_folders
from service.settings import Settings

log = logging.getLogger(__name__)

CLEAN_SECONDS = 3600.0
# Younger files may belong to somebody who has not told the database of them yet.
STALE_SECONDS = 24 * 3600.0
MAX_AT_ONCE = 200  # rows that one transaction locks

Item = TypeVar("Item")


class Cleaner:
    """Several may clean at the same time."""

    def __init__(
        self, settings: Settings, database: Database, *, stale_seconds: float = STALE_SECONDS
    ) -> None:
        self._database = database
        self._artifacts = ArtifactStore(settings.artifact_dir)
        self._keep_failed = timedelta(days=settings.failed_checkpoint_days)
        self._stale_seconds = stale_seconds

    def tick(self) -> None:
        """Raises one of DATABASE_ERRORS where the database does not answer."""
        self._artifacts.remove_stale_temporaries(self._stale_seconds)
        self._checkpoints()
        self._datasets()
        self._models()

    def _checkpoints(self) -> None:
        for jobs in _pieces(self._artifacts.jobs_with_checkpoints()):
            with self._database.transaction() as db:
                over = forget_checkpoints(db, jobs, keep_failed=self._keep_failed)
            for attempt in over:
                self._artifacts.remove_checkpoints(attempt.job_id, attempt.number)

    def _datasets(self) -> None:
        for sha256 in self._artifacts.old_datasets(self._stale_seconds):
            with self._database.transaction() as db:
                lock_bytes(db, sha256)
                if not needs_bytes(db, sha256):
                    self._artifacts.remove_dataset(sha256)
                    log.info("the data set file %s was needed no more", sha256)

    def _models(self) -> None:
        found = self._artifacts.old_models(self._stale_seconds)
        for folders in _pieces(list(found)):
            attempts = {
                folder: Attempt(*trained_by)
                for folder in folders
                if (trained_by := found[folder]) is not None
            }
            with self._database.transaction() as db:
                unfinished = unfinished_attempts(db, attempts.values())
                named = named_folders(db, folders)
            for folder in folders:
                if folder not in named and attempts.get(folder) not in unfinished:
                    self._artifacts.remove_model(folder)
                    log.info("the network %s was needed no more", folder)


def _pieces(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), MAX_AT_ONCE):
        yield items[start : start + MAX_AT_ONCE]
