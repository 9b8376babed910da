"""From a reference to the version that answers it, mostly without asking the database.

An answer is kept for a short time, and forgotten at once when an alias moved: here, because the
route says so; elsewhere, because PostgreSQL sends news. A version never changes, so nothing else
can make an answer wrong but the removal of its model, which sends news too.
"""

import asyncio
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
Found = tuple[ServedVersion, ServedVersion | None]


class ModelResolver:
    """`kept`, `ask` and `forget` are for the event loop, `find` waits for the database."""

    def __init__(self, database: Database, artifacts: ArtifactStore) -> None:
        self._database = database
        self._artifacts = artifacts
        self._answers: OrderedDict[Key, tuple[ServedVersion, float]] = OrderedDict()
        self._moves = 0  # that are known of: an answer read across one is not kept
        self._lock = threading.Lock()
        self._asking: dict[tuple[Key, int], asyncio.Task[Found]] = {}

    def kept(self, workspace_id: UUID, reference: str) -> ServedVersion | None:
        """The answer, if it is known and young enough."""
        answer = self._answers.get((workspace_id, reference))
        return answer[0] if answer and time.monotonic() < answer[1] else None

    async def ask(self, workspace_id: UUID, reference: str) -> Found:
        """As `find`, on a thread. Requests that come at the same time share one look-up, which
        outlives any of them; who comes after a move does not share one that may have read before.
        """
        name = ((workspace_id, reference), self._moves)
        asking = self._asking.get(name)
        if asking is None:
            asking = asyncio.create_task(asyncio.to_thread(self.find, workspace_id, reference))
            self._asking[name] = asking
            asking.add_done_callback(lambda done: self._end(name, done))
        return await asyncio.shield(asking)

    def find(self, workspace_id: UUID, reference: str) -> Found:
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

    def _end(self, name: tuple[Key, int], asking: "asyncio.Task[Found]") -> None:
        del self._asking[name]
        if not asking.cancelled():
            asking.exception()  # read here, in case every request that waited has gone

    def _keep(self, key: Key, found: ServedVersion, moves: int) -> ServedVersion | None:
        with self._lock:
            before, until = self._answers.pop(key, (None, 0.0))
            if moves == self._moves:
                until = time.monotonic() + KEEP_SECONDS
            elif until:  # another one read it after the move
                assert before is not None
                self._answers[key] = (before, until)
                return None
            self._answers[key] = (found, until)
            while len(self._answers) > KEEP_ANSWERS:
                self._answers.popitem(last=False)
        return before if before and before.sha256 != found.sha256 else None
