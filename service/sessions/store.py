"""Sessions in Redis, where every API process finds them.

A change is one script, which looks at the revision first. What was written by a process that then
died is there, and what it did not write never happened. A process remembers what it wrote last, but
nothing is only there.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from service.errors import (
    ConflictError,
    GoneError,
    NotFoundError,
    QuotaExceededError,
    UnavailableError,
)
from service.sessions import scripts
from service.sessions.names import Names
from service.sessions.recent import Recent
from service.sessions.records import Held, Pinned, Session

ANSWER_SECONDS = 2.0
_SHOWN = ("pinned", "seq", "revision", "expires_at", "snapshots")


class SessionStore:
    """Lives on one event loop. Every function raises UnavailableError where Redis is away, and
    GoneError or NotFoundError where there is no such session."""

    def __init__(
        self, redis_url: str, names: Names, *, max_input_bytes: int, recent_bytes: int
    ) -> None:
        """`recent_bytes`: for sessions that this process remembers."""
        self._names = names
        self._max_input_bytes = max_input_bytes
        self._recent = Recent(recent_bytes)
        self._redis: Redis = Redis.from_url(
            redis_url,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            # A connection that a restart of Redis has closed is opened again, once.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
        self._create = self._redis.register_script(scripts.CREATE)
        self._commit = self._redis.register_script(scripts.COMMIT)
        self._snapshot = self._redis.register_script(scripts.SNAPSHOT)
        self._restore = self._redis.register_script(scripts.RESTORE)
        self._delete = self._redis.register_script(scripts.DELETE)
        self._totals = self._redis.register_script(scripts.TOTALS)

    async def close(self) -> None:
        await self._redis.aclose()

    async def create(
        self,
        workspace_id: UUID,
        pinned: Pinned,
        state: bytes,
        *,
        max_sessions: int,
    ) -> Session:
        """A new session; raises QuotaExceededError where the workspace has enough of them."""
        with _available():
            seconds, microseconds = await self._redis.time()
        session_id = self._names.new(workspace_id, seconds * 1000 + microseconds // 1000)
        fields: dict[str, bytes | int] = {"pinned": pinned.to_json(), "seq": 0, "state": state}
        ttl_ms = pinned.ttl_seconds * 1000
        with _available():
            made = await self._create(
                keys=_keys(workspace_id, session_id),
                args=[session_id, ttl_ms, max_sessions, *_flat(fields)],
            )
        if not made:
            raise QuotaExceededError(
                f"The workspace has {max_sessions} sessions already: delete one, or wait until "
                "one expires."
            )
        return await self.get(workspace_id, session_id)

    async def get(self, workspace_id: UUID, session_id: str) -> Session:
        return (await self._read(workspace_id, session_id, ()))[0]

    async def hold(self, workspace_id: UUID, session_id: str) -> Held:
        """The session with its state and its last answer."""
        session, held = await self._read(workspace_id, session_id, ("state", "digest", "answer"))
        return Held(session, *(value or b"" for value in held))

    def recall(self, workspace_id: UUID, session_id: str, seq: int) -> Held | None:
        """The session as this process left it, if step `seq` is the next one after that.

        It may have changed since: then what is written from it is refused.
        """
        held = self._recent.take(workspace_id, session_id)
        return held if held is not None and held.session.seq + 1 == seq else None

    async def step(self, held: Held, inputs: bytes) -> Session:
        """Writes the state and the answer of a step, and keeps its inputs; returns the session
        after it.

        Args:
            held: what to write, with the session as it was read and the digest of the step's body.

        Raises:
            ConflictError: it changed since it was read.
        """
        seq = held.session.seq + 1
        written: dict[str, bytes | int] = {
            "seq": seq,
            "state": held.state,
            "digest": held.digest,
            "answer": held.answer,
        }
        session = replace(await self.commit(held.session, written, inputs), seq=seq)
        self._recent.keep(replace(held, session=session))
        return session

    async def commit(
        self, session: Session, fields: Mapping[str, bytes | int], inputs: bytes = b""
    ) -> Session:
        """Writes fields, and keeps inputs; returns the session with its new revision and end.

        Raises ConflictError where it changed since it was read.
        """
        ttl_ms = session.pinned.ttl_seconds * 1000
        kept = [inputs, self._max_input_bytes]
        args = [session.id, ttl_ms, session.revision, *kept, *_flat(fields)]
        with _available():
            expires_at_ms: int = await self._commit(
                keys=_keys(session.workspace_id, session.id), args=args
            )
        if expires_at_ms == 0:
            raise _gone(session.id)
        if expires_at_ms < 0:
            raise ConflictError("Another step of this session was faster: ask where it stands.")
        return replace(session, revision=session.revision + 1, expires_at_ms=expires_at_ms)

    async def newest(
        self, workspace_id: UUID, limit: int, after: str | None
    ) -> tuple[list[Session], bool]:
        """Those made before the session `after`, and whether there are older ones."""
        with _available():
            seconds, _ = await self._redis.time()
            members: list[Any] = await self._redis.zrangebyscore(
                _keys(workspace_id, "")[1], seconds * 1000, "+inf"
            )
        made: list[tuple[int, str]] = []
        for member in members:
            name = member.decode()
            made_at_ms = self._names.made_at_ms(workspace_id, name)
            if made_at_ms is not None:
                made.append((made_at_ms, name))
        made.sort(reverse=True)
        if after is not None:
            last = (self._names.made_at_ms(workspace_id, after) or 0, after)
            made = [each for each in made if each < last]
        asked = self._redis.pipeline(transaction=False)
        for _, name in made[:limit]:
            asked.hmget(_keys(workspace_id, name)[0], _SHOWN)
        with _available():
            answers = await asked.execute()
        page = [
            _session(workspace_id, name, made_at_ms, found)
            for (made_at_ms, name), found in zip(made[:limit], answers, strict=True)
            if found[0] is not None  # it may have expired in this moment
        ]
        return page, len(made) > limit

    async def snapshot(self, session: Session, *, kept: int) -> int:
        """Keeps the state beside the session; returns its number. Only the newest are kept."""
        with _available():
            number: int = await self._snapshot(
                keys=_keys(session.workspace_id, session.id), args=[kept]
            )
        if not number:
            raise _gone(session.id)
        return number

    async def restore(self, session: Session, number: int) -> None:
        """Takes the session back to a snapshot; its steps are numbered on."""
        with _available():
            done = await self._restore(
                keys=_keys(session.workspace_id, session.id),
                args=[number, self._max_input_bytes + 1],
            )
        if done == 0:
            raise _gone(session.id)
        if done < 0:
            raise NotFoundError(f"The session has no snapshot {number}, or has it no longer.")

    async def inputs(self, session: Session) -> list[bytes] | None:
        """All that were kept, in order; None where they are not all of the state's."""
        key, _, inputs = _keys(session.workspace_id, session.id)
        with _available():
            total = await self._redis.hget(key, "input_bytes")
            if int(total or 0) > self._max_input_bytes:
                return None
            found: list[Any] = await self._redis.lrange(inputs, 0, -1)
        return found

    async def totals(self, workspace_ids: Sequence[UUID]) -> tuple[int, int]:
        """How many sessions these workspaces have, and the bytes of their states."""
        asked = self._redis.pipeline(transaction=False)
        for workspace_id in workspace_ids:
            await self._totals(keys=[_keys(workspace_id, "")[1]], client=asked)
        with _available():
            found: list[tuple[int, int]] = await asked.execute()
        return sum(count for count, _ in found), sum(size for _, size in found)

    async def delete(self, workspace_id: UUID, session_id: str) -> None:
        with _available():
            found = await self._delete(keys=_keys(workspace_id, session_id), args=[session_id])
        self._recent.take(workspace_id, session_id)
        if not found:
            raise NotFoundError("There is no such session here.")

    async def _read(
        self, workspace_id: UUID, session_id: str, fields: Sequence[str]
    ) -> tuple[Session, list[bytes | None]]:
        made_at_ms = self._names.made_at_ms(workspace_id, session_id)
        if made_at_ms is None:
            raise NotFoundError("There is no such session here.")
        with _available():
            found: list[Any] = await self._redis.hmget(
                _keys(workspace_id, session_id)[0], (*_SHOWN, *fields)
            )
        if found[0] is None:
            raise _gone(session_id)
        session = _session(workspace_id, session_id, made_at_ms, found)
        return session, found[len(_SHOWN) :]


def _keys(workspace_id: UUID, session_id: str) -> list[str]:
    """Of one workspace in one slot of a cluster."""
    root = f"reprise:sessions:{{{workspace_id}}}"
    return [f"{root}:{session_id}", root, f"{root}:{session_id}:inputs"]


def _flat(fields: Mapping[str, bytes | int]) -> list[Any]:
    return [part for field in fields.items() for part in field]


def _session(
    workspace_id: UUID, session_id: str, made_at_ms: int, found: Sequence[bytes]
) -> Session:
    """`found`: the values of `_SHOWN`."""
    pinned, *numbers = found[: len(_SHOWN)]
    return Session(
        workspace_id, session_id, made_at_ms, Pinned.from_json(pinned), *map(int, numbers)
    )


def _gone(session_id: str) -> GoneError:
    return GoneError(f"The session {session_id} was deleted, has expired or was lost.")


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise UnavailableError("Redis, which holds the sessions, does not answer.") from error
