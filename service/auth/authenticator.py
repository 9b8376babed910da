"""Says who a bearer key belongs to, from memory where it was asked a moment ago.

A key is looked up again after `key_cache_seconds`, so that is how late a revocation by another
process takes effect; one by this process takes effect at once (`forget`). Only right keys are
remembered, by their digest. One that is in use is looked up again in half that time, and no request
waits for that.
"""

import asyncio
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from service.auth import browsers, store
from service.auth.keys import PlainKey, parse
from service.auth.subjects import Subject
from service.db.engine import Database
from service.errors import UnauthenticatedError

CAPACITY = 10_000


@dataclass(frozen=True)
class _Remembered:
    subject: Subject
    due: float  # to be looked up again
    until: float


class Authenticator:
    """Lives on one event loop. Never blocks it: a look-up runs on a thread."""

    def __init__(
        self,
        database: Database,
        cache_seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._cache_seconds = cache_seconds
        self._clock = clock
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._writing = threading.Lock()  # `forget` comes from the threads of the routes
        self._revocations = 0  # that are known of: what was read across one is not remembered
        self._look_ups: dict[tuple[bytes, int], asyncio.Task[Subject]] = {}

    async def subject(self, text: str) -> Subject:
        """The subject of a key; raises UnauthenticatedError, the same for every reason."""
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        found, now = self._remembered.get(digest), self._clock()
        if found is not None and now < found.until:
            if now >= found.due:
                self._shared(digest, text)
            return found.subject
        return await asyncio.shield(self._shared(digest, text))

    async def browser(self, token: str) -> Subject:
        """The subject of a browser that signed in; raises UnauthenticatedError. Not remembered:
        a sign-out takes effect at once, everywhere."""
        return await asyncio.to_thread(self._find_browser, token)

    def forget(self, key_id: UUID) -> None:
        """Drops what is remembered of a key that was revoked. For any thread."""
        with self._writing:
            self._revocations += 1
            for digest, found in list(self._remembered.items()):
                if found.subject.key_id == key_id:
                    del self._remembered[digest]

    def _shared(self, digest: bytes, text: str) -> asyncio.Task[Subject]:
        """The look-up of all requests that come at the same time, which outlives any of them. Who
        comes after a revocation does not share one that may have read the key before it."""
        name = (digest, self._revocations)
        look_up = self._look_ups.get(name)
        if look_up is None:
            key = parse(text)
            if key is None:
                raise UnauthenticatedError(store.WRONG_KEY)
            look_up = asyncio.create_task(self._look_up(*name, key))
            self._look_ups[name] = look_up
            look_up.add_done_callback(lambda done: self._end(name, done))
        return look_up

    async def _look_up(self, digest: bytes, revocations: int, key: PlainKey) -> Subject:
        asked_at = self._clock()
        answer = await asyncio.to_thread(self._authenticate, key)
        seconds = self._cache_seconds
        if answer.seconds_left is not None:
            seconds = min(seconds, answer.seconds_left)
        with self._writing:
            if revocations != self._revocations:
                return answer.subject
            self._remembered[digest] = _Remembered(
                answer.subject, asked_at + seconds / 2, asked_at + seconds
            )
            self._remembered.move_to_end(digest)
            while len(self._remembered) > CAPACITY:
                self._remembered.popitem(last=False)
        return answer.subject

    def _find_browser(self, token: str) -> Subject:
        with self._database.transaction() as db:
            return browsers.subject_of(db, token)

    def _authenticate(self, key: PlainKey) -> store.Authenticated:
        with self._database.transaction() as db:
            return store.authenticate(db, key)

    def _end(self, name: tuple[bytes, int], look_up: asyncio.Task[Subject]) -> None:
        self._look_ups.pop(name, None)
        # The error is read here, in case every request that waited has gone.
        if not look_up.cancelled() and isinstance(look_up.exception(), UnauthenticatedError):
            with self._writing:
                self._remembered.pop(name[0], None)
