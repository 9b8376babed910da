"""From a reference to the version that answers it, mostly without asking the database.

An answer is kept for a short time, and forgotten at once when an alias moved: here, because the
route says so; elsewhere, because PostgreSQL sends news. A version never changes, so nothing else
can make an answer wrong but the removal of its model, which sends news too. What is asked for again
and again is looked up before its time is over, and nobody waits for that.
"""

import asyncio
import threading
import time
from collections import OrderedDict
from typing import NamedTuple
from uuid import UUID

from service.artifacts.store import ArtifactStore
from service.db.engine import Database
from service.inference.requests import ServedVersion
from service.registry.store import resolve

KEEP_SECONDS = 2.0
DUE_SECONDS = 1.0  # after which it is looked up again
KEEP_ANSWERS = 10_000

Key = tuple[UUID, str]


class _Answer(NamedTuple):
    version: ServedVersion
    due: float  # seconds of the monotonic clock
    until: float


class ModelResolver:
    """`kept`, `ask` and `forget` are for the event loop, `find` waits for the database."""

    def __init__(self, database: Database, artifacts: ArtifactStore) -> None:
        self._database = database
        self._artifacts = artifacts
        self._answers: OrderedDict[Key, _Answer] = OrderedDict()
        self._moves = 0  # that are known of: an answer read across one is not kept
        self._lock = threading.Lock()
        self._asking: dict[tuple[Key, int], asyncio.Task[ServedVersion]] = {}

    def kept(self, workspace_id: UUID, reference: str) -> ServedVersion | None:
        """The answer, if it is known and young enough."""
        answer, now = self._answers.get((workspace_id, reference)), time.monotonic()
        if answer is None or now >= answer.until:
            return None
        if now >= answer.due:
            self._look_up(workspace_id, reference)
        return answer.version

    async def ask(self, workspace_id: UUID, reference: str) -> ServedVersion:
        """As `find`, on a thread. Requests that come at the same time share one look-up, which
        outlives any of them; who comes after a move does not share one that may have read before.
        """
        return await asyncio.shield(self._look_up(workspace_id, reference))

    def find(self, workspace_id: UUID, reference: str) -> ServedVersion:
        """Asks the database. Raises as `service.registry.store.resolve`."""
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
        self._keep((workspace_id, reference), found, moves)
        return found

    def forget(self) -> None:
        """Some alias moved: whatever was read before now may be wrong."""
        with self._lock:
            self._moves += 1
            self._answers.clear()

    def _look_up(self, workspace_id: UUID, reference: str) -> "asyncio.Task[ServedVersion]":
        name = ((workspace_id, reference), self._moves)
        asking = self._asking.get(name)
        if asking is None:
            asking = asyncio.create_task(asyncio.to_thread(self.find, workspace_id, reference))
            self._asking[name] = asking
            asking.add_done_callback(lambda done: self._end(name, done))
        return asking

    def _end(self, name: tuple[Key, int], asking: "asyncio.Task[ServedVersion]") -> None:
        del self._asking[name]
        if not asking.cancelled():
            asking.exception()  # read, in case every request that waited has gone

    def _keep(self, key: Key, found: ServedVersion, moves: int) -> None:
        with self._lock:
            if moves != self._moves:
                return
            now = time.monotonic()
            self._answers.pop(key, None)  # the newest stands last
            self._answers[key] = _Answer(found, now + DUE_SECONDS, now + KEEP_SECONDS)
            while len(self._answers) > KEEP_ANSWERS:
                self._answers.popitem(last=False)
