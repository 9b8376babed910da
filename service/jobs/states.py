"""The states of a job and every way between them, as data.

`docs/states.md` draws this table and a test compares the two. Each state says what a crash leaves
behind and who repairs it.
"""

from enum import StrEnum
from typing import NamedTuple


class JobState(StrEnum):
    """What is true of a job's row."""

    # Nobody works on it; it may be held (`paused_at`, `blocked`). A crash leaves it as it is: a
    # worker looks for work by itself, and the reaper wakes one.
    QUEUED = "queued"
    # One attempt holds the lease. A crash lets the lease run out: the reaper puts the job back, and
    # the attempt number shuts the old worker out.
    RUNNING = "running"
    # Ended for good. The model version was registered in the same transaction. A crash leaves
    # checkpoints on disk that no row names: the reaper removes them.
    SUCCEEDED = "succeeded"
    # Ended. `error` says why; the last good checkpoint is kept. Somebody may have it tried again.
    FAILED = "failed"
    # Ended. Somebody asked for it, and may have it tried again. Checkpoints on disk: as with
    # `succeeded`.
    CANCELLED = "cancelled"


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
RETRIABLE = frozenset({JobState.FAILED, JobState.CANCELLED})
NOTHING_TO_RESUME = TERMINAL - {JobState.FAILED}  # ended, and without checkpoints


class Transition(NamedTuple):
    """One way from a state to another; `by` is the process that takes it (any: whichever ends the
    job that it waits for)."""

    source: JobState
    target: JobState
    reason: str
    by: str


TRANSITIONS = (
    Transition(JobState.QUEUED, JobState.RUNNING, "claimed", "worker"),
    Transition(JobState.QUEUED, JobState.CANCELLED, "cancelled", "api"),
    Transition(JobState.QUEUED, JobState.FAILED, "dependency_failed", "any"),
    Transition(JobState.QUEUED, JobState.FAILED, "deadline", "reaper"),
    Transition(JobState.RUNNING, JobState.SUCCEEDED, "finished", "worker"),
    Transition(JobState.RUNNING, JobState.FAILED, "failed", "worker"),
    Transition(JobState.RUNNING, JobState.FAILED, "poisoned", "worker"),
    Transition(JobState.RUNNING, JobState.FAILED, "poisoned", "reaper"),
    Transition(JobState.RUNNING, JobState.FAILED, "deadline", "worker"),
    Transition(JobState.RUNNING, JobState.CANCELLED, "cancelled", "worker"),
    Transition(JobState.RUNNING, JobState.CANCELLED, "cancelled", "reaper"),
    Transition(JobState.RUNNING, JobState.QUEUED, "drained", "worker"),
    Transition(JobState.RUNNING, JobState.QUEUED, "paused", "worker"),
    Transition(JobState.RUNNING, JobState.QUEUED, "preempted", "worker"),
    Transition(JobState.RUNNING, JobState.QUEUED, "crashed", "worker"),
    Transition(JobState.RUNNING, JobState.QUEUED, "lease_expired", "reaper"),
    Transition(JobState.FAILED, JobState.QUEUED, "retried", "api"),
    Transition(JobState.CANCELLED, JobState.QUEUED, "retried", "api"),
)


def is_allowed(source: JobState, target: JobState, reason: str) -> bool:
    return any(
        step.source == source and step.target == target and step.reason == reason
        for step in TRANSITIONS
    )
