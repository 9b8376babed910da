"""Rows that have no room in memory together are computed in parts."""

import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from rnn.memory import Shortage, within_memory

log = logging.getLogger(__name__)

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_parts(
    compute: Callable[[list[Job], list[int]], list[Result]], jobs: list[Job], rows: list[int]
) -> list[Result]:
    """What `compute` makes of the rows, each of the job beside it: of all at once, or else of
    halves. Rows do not know of each other.

    Raises MemoryError where there is no room for one row.
    """
    found = within_memory(partial(compute, jobs, rows))
    if not isinstance(found, Shortage):
        return found
    if len(rows) == 1:
        raise MemoryError(found.reason)
    log.warning("%d rows are computed in halves: %s", len(rows), found.reason)
    half = len(rows) // 2
    return in_parts(compute, jobs[:half], rows[:half]) + in_parts(compute, jobs[half:], rows[half:])
