"""News from PostgreSQL for those who wait in the event loop. A hint to read the rows again."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from service.db.notifications import JOB_EVENTS, MODEL_VERSIONS, Listener

Reaction = Callable[[dict[str, Any] | None], None]


class Bell:
    """Rings when something may have happened to jobs; a ring that came early is not lost."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, timeout_seconds: float) -> bool:
        """Until it rings; False when the time ran out first."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


class News:
    """Bridges the listener's thread to the event loop that `start` was called in."""

    def __init__(self, database_url: str) -> None:
        self._listener = Listener(
            database_url, (JOB_EVENTS, MODEL_VERSIONS), self._on_news, self._on_gap
        )
        self._bells: defaultdict[str, set[Bell]] = defaultdict(set)
        self._reactions: list[Reaction] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener.start()

    def close(self) -> None:
        """Ends every wait, so that open streams end; safe in a signal handler."""
        self.closed = True
        if self._loop is not None:
            self._call(self._ring_all)

    def stop(self) -> None:
        """Ends the listener; called outside the event loop, which it may keep waiting."""
        self._listener.stop()

    def on_model_version(self, react: Reaction) -> None:
        """Calls `react` in the event loop for each announced version; with None after a gap."""
        self._reactions.append(react)

    @contextmanager
    def subscribe(self, job_or_workspace: UUID) -> Iterator[Bell]:
        """A bell for one job, or for all of a workspace. Subscribe first, then read the rows:
        nothing falls in between."""
        bell = Bell()
        key = str(job_or_workspace)
        self._bells[key].add(bell)
        try:
            yield bell
        finally:
            self._bells[key].discard(bell)
            if not self._bells[key]:
                del self._bells[key]

    def _on_news(self, channel: str, payload: dict[str, Any]) -> None:
        if channel == JOB_EVENTS:
            self._call(self._ring, payload["job_id"])
            self._call(self._ring, payload["workspace_id"])
        else:
            self._call(self._react, payload)

    def _on_gap(self) -> None:
        self._call(self._ring_all)
        self._call(self._react, None)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _ring(self, key: str) -> None:
        for bell in self._bells.get(key, ()):
            bell.ring()

    def _ring_all(self) -> None:
        for bells in self._bells.values():
            for bell in bells:
                bell.ring()

    def _react(self, payload: dict[str, Any] | None) -> None:
        for react in self._reactions:
            react(payload)
