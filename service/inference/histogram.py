"""Measurements counted by their size, as Prometheus takes them. No torch."""

from bisect import bisect_left
from collections.abc import Sequence

from msgspec import Struct

SECONDS = tuple(
    float(f"{digit}e{power}") for power in range(-4, 2) for digit in (1, 2.5, 5)
)  # 0.0001 to 50
ROWS = tuple(float(2**power) for power in range(9))  # 1 to 256


class Histogram(Struct):
    """Attributes:
    bounds: the largest measurement of each count but the last, rising.
    counts: of measurements, not cumulated.
    total: of all of them.
    """

    bounds: Sequence[float]
    counts: list[int]
    total: float = 0.0

    @classmethod
    def of(cls, bounds: Sequence[float]) -> "Histogram":
        """Without measurements."""
        return cls(bounds, [0] * (len(bounds) + 1))

    def observe(self, measured: float) -> None:
        self.counts[bisect_left(self.bounds, measured)] += 1
        self.total += measured
