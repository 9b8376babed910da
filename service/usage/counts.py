"""What keys use, by day: counted in memory and carried to Redis every few seconds.

No request waits for it. What a process counted since it last carried is lost if it is killed.
"""

import asyncio
import logging
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Literal
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.auth.subjects import Subject
from service.errors import UnavailableError

log = logging.getLogger(__name__)

Measure = Literal[
    "requests", "series", "texts", "prompt_tokens", "generated_tokens", "session_steps"
]

Counts = Counter[tuple[UUID, int, str]]  # by workspace, day since 1970, and key with measure

CARRY_SECONDS = 5.0
ANSWER_SECONDS = 2.0
KEPT_DAYS = 400
_DAY = 86_400

# KEYS: the batch, then one hash for each day of a workspace. ARGV: seconds that a batch is known
# and a hash is kept, then the place of a hash, a field of it and how much more it is. A batch that
# comes again, since its answer was lost, changes nothing.
_ADD = """
if not redis.call('SET', KEYS[1], 1, 'NX', 'EX', ARGV[1]) then return end
for at = 3, #ARGV, 3 do
  redis.call('HINCRBY', KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2])
end
for at = 2, #KEYS do redis.call('EXPIRE', KEYS[at], ARGV[2]) end
"""


class Usage:
    """For one event loop."""

    def __init__(self, redis_url: str, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._redis: Redis = Redis.from_url(
            redis_url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS
        )
        self._add = self._redis.register_script(_ADD)
        self._counts: Counts = Counter()
        self._batch: tuple[str, Counts] | None = None  # on its way
        self._carrying = asyncio.Lock()

    def count(self, subject: Subject, measure: Measure, amount: int = 1) -> None:
        """Adds to what the key has used today, in UTC."""
        day = int(self._clock() // _DAY)
        self._counts[subject.workspace_id, day, f"{subject.key_id} {measure}"] += amount

    async def run(self) -> None:
        """Carries until it is cancelled."""
        while True:
            await asyncio.sleep(CARRY_SECONDS)
            try:
                await self.carry()
            except RedisError as error:
                log.warning("what was used is counted on here: %s", error)

    async def carry(self) -> None:
        """Raises RedisError where Redis is away; the next call goes on with the same."""
        async with self._carrying:
            for _ in range(2):  # what may be on its way still, then what came since
                if self._batch is None and self._counts:
                    self._batch, self._counts = (secrets.token_hex(16), self._counts), Counter()
                if self._batch is not None:
                    await self._send(*self._batch)
                    self._batch = None

    async def _send(self, batch: str, counts: Counts) -> None:
        names = dict.fromkeys(_name(workspace_id, day) for workspace_id, day, _ in counts)
        places = {name: place for place, name in enumerate(names, 2)}
        arguments: list[str | int] = [_DAY, KEPT_DAYS * _DAY]
        for (workspace_id, day, field), amount in counts.items():
            arguments += [places[_name(workspace_id, day)], field, amount]
        await self._add(keys=[f"usage-batch:{batch}", *names], args=arguments)

    async def read(
        self, workspace_id: UUID, since: date, until: date
    ) -> dict[tuple[date, UUID | None], Mapping[str, int]]:
        """What each key used on each of the days, both ends among them, where it used anything.

        Of other processes it lacks the last seconds. Raises UnavailableError where Redis is away.
        """
        days = [since + timedelta(days) for days in range((until - since).days + 1)]
        try:
            await self.carry()
            async with self._redis.pipeline(transaction=False) as asked:
                for day in days:
                    asked.hgetall(_name(workspace_id, _number(day)))
                answers = await asked.execute()
        except RedisError as error:
            raise UnavailableError(
                "What was used cannot be read: Redis does not answer."
            ) from error
        found: defaultdict[tuple[date, UUID | None], dict[str, int]] = defaultdict(dict)
        for day, answer in zip(days, answers, strict=True):
            for field, amount in answer.items():
                key_id, _, measure = field.decode().partition(" ")
                found[day, UUID(key_id)][measure] = int(amount)
        return {**found}

    async def close(self) -> None:
        """Carries what is left, if Redis answers."""
        try:
            await self.carry()
        except RedisError as error:
            log.warning("what was used last is lost: %s", error)
        await self._redis.aclose()


def _number(day: date) -> int:
    """Of a day, since 1970."""
    return (day - date(1970, 1, 1)).days


def _name(workspace_id: UUID, day: int) -> str:
    return f"usage:{workspace_id}:{day}"
