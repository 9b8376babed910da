"""How much of the processor others took while something was measured."""

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

COUNTERS = Path("/proc/stat")
# Of the processor, in cores, that others may take before figures say little.
BEARABLE_CORES = 0.1


@dataclass(frozen=True)
class Disturbance:
    """Seconds since the machine started, or between two such moments.

    Attributes:
        others: processor time of processes that are not ours; None where it is not to be had.
        stolen: what the host of a virtual machine gave to its other guests.
    """

    wall: float
    others: float | None
    stolen: float

    @classmethod
    def so_far(cls) -> "Disturbance":
        """At this moment; processes that we started count as ours once they were waited for."""
        wall = time.monotonic()
        try:
            counters = COUNTERS.read_text(encoding="utf-8").splitlines()[0].split()[1:9]
        except OSError:
            return cls(wall, None, 0.0)
        ticks = os.sysconf("SC_CLK_TCK")
        user, nice, system, _, _, interrupt, soft, stolen = (int(c) / ticks for c in counters)
        usages = [
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ]
        own = sum(usage.ru_utime + usage.ru_stime for usage in usages)
        return cls(wall, user + nice + system + interrupt + soft - own, stolen)

    def __sub__(self, before: "Disturbance") -> "Disturbance":
        others = None
        if self.others is not None and before.others is not None:
            others = max(0.0, self.others - before.others)
        return Disturbance(self.wall - before.wall, others, self.stolen - before.stolen)

    @property
    def bearable(self) -> bool:
        return ((self.others or 0) + self.stolen) / self.wall <= BEARABLE_CORES

    def __str__(self) -> str:
        if self.others is None:
            return f"{self.wall:.0f} s, other processes unknown"
        return (
            f"{self.wall:.0f} s, other processes took {self.others / self.wall:.2f} cores, "
            f"the host {self.stolen / self.wall:.2f}"
        )
