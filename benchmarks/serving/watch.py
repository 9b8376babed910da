"""How much of our cores others took meanwhile, and what keeps processes on some of them."""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil

from benchmarks.kernels.disturbance import COUNTERS, Disturbance

SETTLE_SECONDS, CALM_SECONDS, IDLE_CORES = 60.0, 3, 0.1


def so_far() -> Disturbance:
    """As `Disturbance.so_far`, of the cores that we may use alone; servers that we started count
    as ours while they run."""
    wall = time.monotonic()
    try:
        lines = COUNTERS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return Disturbance(wall, None, 0.0)
    busy, stolen = busy_seconds(lines, os.sched_getaffinity(0), os.sysconf("SC_CLK_TCK"))
    return Disturbance(wall, busy - _own_seconds(), stolen)


def busy_seconds(lines: Sequence[str], cores: set[int], ticks: int) -> tuple[float, float]:
    """Processor seconds of all processes on some cores, and those that the host took, from the
    counters of the system."""
    names = {f"cpu{core}" for core in cores}
    busy = stolen = 0.0
    for line in lines:
        name, *counters = line.split()
        if name in names:
            user, nice, system, _, _, interrupt, soft, taken = (int(c) for c in counters[:8])
            busy += (user + nice + system + interrupt + soft) / ticks
            stolen += taken / ticks
    return busy, stolen


def _own_seconds() -> float:
    """Of this process, what it started and what that started, as far as it still runs or was
    waited for."""
    return tree_seconds(os.getpid())


def tree_seconds(pid: int) -> float:
    """Processor seconds of a process, what it started and what that started, likewise."""
    processes: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def settle(pid: int) -> None:
    """Waits until a process and what it started do next to nothing: a service gets its next trainer
    ready after each job."""
    until = time.monotonic() + SETTLE_SECONDS
    calm = 0
    while calm < CALM_SECONDS and time.monotonic() < until:
        before = tree_seconds(pid)
        time.sleep(1)
        calm = calm + 1 if tree_seconds(pid) - before < IDLE_CORES else 0


@contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """What is started in the block stays on these cores; without any, it may use all of ours."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
