"""How much memory a trainer may take."""

import re
import resource
import sys
from pathlib import Path

from rnn.memory import keep_reserve

STATUS = Path("/proc/self/status")
RESERVE_BYTES = 32 * 2**20
LEAST_BYTES = RESERVE_BYTES + 64 * 2**20  # with which the smallest training does


def limit_memory(limit_bytes: int) -> None:
    """From here on an allocation that would pass the limit fails inside this process, where it can
    be survived, and no process is killed for it.

    The limit is one of private memory that can be written to (RLIMIT_DATA, which the kernel counts
    as VmData): in a trainer on a CPU that is as much as it has in use, while its address space is
    three times as large. Ends the process where the program alone, once all of it is loaded, leaves
    nothing to train with.
    """
    taken = _data_bytes()
    if taken + LEAST_BYTES > limit_bytes:
        sys.exit(
            f"REPRISE_TRAINER_MEMORY_BYTES is {limit_bytes}, but a trainer takes {taken} before it"
            f" begins, and needs {LEAST_BYTES} more"
        )
    keep_reserve(RESERVE_BYTES)
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def _data_bytes() -> int:
    found = re.search(r"^VmData:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    assert found is not None, "every Linux since 2.6 has it"
    return int(found[1]) * 1024
