"""From a reference to the version that answers it, mostly without asking the database.

An answer is kept for a short time, and forgotten at once when an alias moved: here, because the
route says so; elsewhere, because PostgreSQL sends news. A version never changes, so nothing else
can make an answer wrong but the removal of its model, which sends news too.
"""

import threading
import time
from collections import OrderedDict
from uuid import UUID

from service.artifacts.store import ArtifactStore
from service.db.engine import Database
from service.inference.requests import ServedVersion
from service.registry.store import resolve

KEEP_SECONDS = 2.0
KEEP_ANSWERS = 10_000

Key = tuple[UUID, str]


class ModelResolver:
    """`kept` and `forget` are for the event loop, `find` waits for the database."""

    def __init__(self, database: Database, artifacts: ArtifactStore) -> None:
        self._database = database
        self._artifacts = artifacts
        self._answers: OrderedDict[Key, tuple[ServedVersion, float]] = OrderedDict()
        self._moves = 0  # that are known of: an answer read across one is not kept
        self._lock = threading.Lock()

    def kept(self, workspace_id: UUID, reference: str) -> ServedVersion | None:
        """The answer, if it is known and young enough."""
        answer = self._answers.get((workspace_id, reference))
        return answer[0] if answer and time.monotonic() < answer[1] else None

    def find(
        self, workspace_id: UUID, reference: str
    ) -> tuple[ServedVersion, ServedVersion | None]:
        """Asks the database. Returns also the version that the reference stood for before, if it
        was another one. Raises as `service.registry.store.resolve`."""
        moves = self._moves
        with self._database.transaction() as db:
            model, version = resolve(db, workspace_id, reference)
        found = ServedVersion(
            name=model.name,
            version=version.version,
            task=model.task,
            folder=self._artifacts.absolute(version.artifact_path),
            sha256=version.artifact_sha256,
        )
        return found, self._keep((workspace_id, reference), found, moves)

    def forget(self) -> None:
        """Some alias moved: whatever was read before now may be wrong."""
        with self._lock:
            self._moves += 1
            for key, (version, _) in self._answers.items():
                self._answers[key] = (version, 0.0)

    def _keep(self, key: Key, found: ServedVersion, moves: int) -> ServedVersion | None:
        with self._lock:
            before, _ = self._answers.pop(key, (None, 0.0))
            good_until = time.monotonic() + KEEP_SECONDS if moves == self._moves else 0.0
            self._answers[key] = (found, good_until)
            while len(self._answers) > KEEP_ANSWERS:
                self._answers.popitem(last=False)
        return before if before and before.sha256 != found.sha256 else None
