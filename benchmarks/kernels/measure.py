"""Timing of rival implementations side by side, and the rows that come of it."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

# After a call some thread pools spin for a moment and would take the next engine's core.
SETTLE_SECONDS = 0.02
# Calls shorter than this get one that is not timed before each repetition, so that an engine finds
# its own weights in the cache and not its rival's.
WARM_BELOW_SECONDS = 0.2


@dataclass(frozen=True)
class Row:
    """One figure of one engine at one piece of work.

    Attributes:
        section, work: where in the tables; a section's works are its columns.
        engine: what was measured; a line of the table.
        unit: of the figure; what starts with "us" or "ms" is better when lower.
        median, low, high: over the repetitions; None where there is no figure.
        note: what else is to be said, or why there is no figure.
    """

    section: str
    work: str
    engine: str
    unit: str
    median: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""

    @property
    def lower_is_better(self) -> bool:
        return self.unit.split()[0] not in RATES

    def speed_against(self, other: float) -> float:
        """How many times as good as another figure in the same unit."""
        assert self.median is not None
        return other / self.median if self.lower_is_better else self.median / other

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


RATES = {"steps/s", "tokens/s", "sequences/s", "series/s", "GFLOP/s", "GB/s"}


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median, shortest and longest repetition."""

    median: float
    low: float
    high: float

    def row(self, section: str, work: str, engine: str, *, unit: str, items: float) -> Row:
        """The figure in a unit of `RATES`, or in us or ms, of a call that did `items` items."""
        if unit.split()[0] in RATES:
            figures = (items / self.median, items / self.high, items / self.low)
        else:
            scale = {"us": 1e6, "ms": 1e3}[unit.split("/")[0]] / items
            figures = (self.median * scale, self.low * scale, self.high * scale)
        return Row(section, work, engine, unit, *figures)


def interleaved(
    calls: Mapping[str, Callable[[], object]], *, repetitions: int, seconds: float
) -> dict[str, Timing]:
    """Seconds a call of each, measured in turns so that whatever disturbs meets all alike.

    Args:
        seconds: a repetition repeats its call for about so long, at least once.
    """
    needed = {name: _seconds_of(call) for name, call in calls.items()}
    counts = {name: max(1, round(seconds / needed[name])) for name in calls}
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repetitions):
        for name, call in calls.items():
            time.sleep(SETTLE_SECONDS)
            if needed[name] < WARM_BELOW_SECONDS:
                call()
            start = time.perf_counter()
            for _ in range(counts[name]):
                call()
            found[name].append((time.perf_counter() - start) / counts[name])
    return {
        name: Timing(statistics.median(times), min(times), max(times))
        for name, times in found.items()
    }


def _seconds_of(call: Callable[[], object]) -> float:
    """The best of a few calls after a first one, of a long one only one."""
    call()
    times: list[float] = []
    while len(times) < 5 and sum(times) < WARM_BELOW_SECONDS:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return max(min(times), 1e-7)


def build(
    makers: Mapping[str, Callable[[], Callable[..., Any]]],
) -> tuple[dict[str, Callable[..., Any]], dict[str, str]]:
    """What each maker makes, and the reasons of those that could not: a peer that fails on this
    machine costs its own line, not the run."""
    made: dict[str, Callable[..., Any]] = {}
    failed: dict[str, str] = {}
    for name, maker in makers.items():
        start = time.perf_counter()
        try:
            made[name] = maker()
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}".splitlines()[0][:120]
            say(f"    {name}: {failed[name]}")
        taken = time.perf_counter() - start
        if taken > 2:
            say(f"    {name}: built in {taken:.0f} s")
    return made, failed


def say(text: str) -> None:
    """Progress, beside the rows that go to standard output."""
    print(text, file=sys.stderr, flush=True)
