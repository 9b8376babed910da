"""Counts requests in sliding windows of one minute, in this process."""

import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from service.errors import RateLimitedError


class Limiter:
    """At most `per_minute` hits for each name."""

    def __init__(self, per_minute: int, what: str) -> None:
        self._item = RateLimitItemPerMinute(per_minute)
        self._what = what
        self._strategy = SlidingWindowCounterRateLimiter(MemoryStorage())

    def hit(self, name: str) -> None:
        """Counts one; raises RateLimitedError where it is one too many."""
        if not self._strategy.hit(self._item, name):
            reset = self._strategy.get_window_stats(self._item, name).reset_time
            raise RateLimitedError(
                f"More than {self._item.amount} {self._what} in a minute.",
                retry_after_seconds=max(1, math.ceil(reset - time.time())),
            )
