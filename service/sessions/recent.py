"""Sessions as their last steps left them, so that the next step need not ask Redis for them.

What is remembered may be old: another process may have gone on. A step from it is only written
where Redis still has the revision that it began with.
"""

from collections import OrderedDict
from uuid import UUID

from service.sessions.records import Held


class Recent:
    """In at most `max_bytes`; the least recently used make room."""

    def __init__(self, max_bytes: int) -> None:
        self.size_bytes = 0
        self._max_bytes = max_bytes
        self._held: OrderedDict[tuple[UUID, str], Held] = OrderedDict()

    def take(self, workspace_id: UUID, session_id: str) -> Held | None:
        """What is remembered of a session, which is forgotten with that."""
        held = self._held.pop((workspace_id, session_id), None)
        if held is not None:
            self.size_bytes -= held.size_bytes
        return held

    def keep(self, held: Held) -> None:
        """In the place of what was remembered; not where it alone is too large."""
        session = held.session
        self.take(session.workspace_id, session.id)
        if held.size_bytes > self._max_bytes:
            return
        self._held[session.workspace_id, session.id] = held
        self.size_bytes += held.size_bytes
        while self.size_bytes > self._max_bytes:
            _, oldest = self._held.popitem(last=False)
            self.size_bytes -= oldest.size_bytes
