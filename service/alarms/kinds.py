"""What an alarm is, and which there are."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AlarmKind(StrEnum):
    # A worker that could take a job does not: it neither hears wake-ups nor looks by itself.
    JOBS_WAIT_WHILE_SLOTS_IDLE = "jobs_wait_while_slots_idle"
    NO_WORKER = "no_worker"
    WORKER_LOST = "worker_lost"
    LEASE_OVERDUE = "lease_overdue"
    REAPER_SILENT = "reaper_silent"
    DISK_LOW = "disk_low"


@dataclass(frozen=True)
class Alarm:
    """Something that is wrong now; it is gone as soon as its cause is."""

    kind: AlarmKind
    since: datetime
    count: int  # of what the message speaks of
    message: str
    remedy: str
