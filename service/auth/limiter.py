"""Counts requests in sliding windows of one minute, in this process."""

import time
from collections.abc import Callable

from service.errors import RateLimitedError

WINDOW_SECONDS = 60.0


class Limiter:
    """At most `per_minute` hits for each name. For one event loop: it takes no lock.

    The sliding window is the current minute's count and the last one's, weighted by the part of it
    that is less than a minute ago. Two dictionaries that are dropped in turn, so nothing grows. The
    `limits` library starts a thread for its housekeeping a hundred times a second, and the loop
    waits for each.
    """

    def __init__(
        self, per_minute: int, what: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_minute = per_minute
        self._what = what
        self._clock = clock
        self._minute = 0.0
        self._counts: dict[str, int] = {}
        self._counts_before: dict[str, int] = {}

    def hit(self, name: str) -> None:
        """Counts one; raises RateLimitedError where it is one too many."""
        minute, elapsed = divmod(self._clock(), WINDOW_SECONDS)
        if minute != self._minute:
            self._counts_before = self._counts if minute == self._minute + 1 else {}
            self._counts, self._minute = {}, minute
        count = self._counts.get(name, 0)
        before = self._counts_before.get(name, 0) * (1 - elapsed / WINDOW_SECONDS)
        if before + count >= self._per_minute:
            raise RateLimitedError(
                f"More than {self._per_minute} {self._what} in a minute.",
                retry_after_seconds=WINDOW_SECONDS - elapsed,
            )
        self._counts[name] = count + 1
