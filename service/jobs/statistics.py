"""Figures about all jobs, for whoever watches the machine."""

from collections import Counter
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.db.tables import CLAIMABLE, TRAINED_TIMESTEPS, Job, Total
from service.jobs.states import JobState

WAIT_BUCKETS = (1, 5, 15, 30, 60, 300, 900, 3600, 14_400, 86_400)  # seconds


class Statistics(NamedTuple):
    """Attributes:
    by_state: jobs in each state.
    oldest_seconds: how long the oldest job that could run waits; 0 where none does.
    waits: for each of `WAIT_BUCKETS`, jobs that waited at most so long for their first start.
    started: jobs that were ever started.
    waited_seconds: what all of these waited together.
    trained_timesteps: that trainings have read.
    """

    by_state: dict[JobState, int]
    oldest_seconds: float
    waits: dict[int, int]
    started: int
    waited_seconds: float
    trained_timesteps: int


def count_jobs(db: Session) -> Statistics:
    """Reads every job once."""
    waited = func.extract("epoch", Job.started_at - Job.created_at)
    within = [func.count().filter(waited <= seconds) for seconds in WAIT_BUCKETS]
    by_state: dict[JobState, int] = dict.fromkeys(JobState, 0)
    waits: Counter[int] = Counter(dict.fromkeys(WAIT_BUCKETS, 0))
    all_started, all_waited = 0, 0.0
    for state, count, started, seconds, *counts in db.execute(
        select(
            Job.state,
            func.count(),
            func.count(Job.started_at),
            func.coalesce(func.sum(waited), 0),
            *within,
        ).group_by(Job.state)
    ):
        by_state[JobState(state)] = count
        all_started += started
        all_waited += float(seconds)
        waits.update(dict(zip(WAIT_BUCKETS, counts, strict=True)))
    oldest = func.extract("epoch", func.clock_timestamp() - func.min(Job.queued_at))
    oldest_seconds = db.scalar(select(oldest).where(CLAIMABLE))
    trained = db.scalar(select(Total.value).where(Total.name == TRAINED_TIMESTEPS))
    return Statistics(
        by_state,
        float(oldest_seconds or 0),
        dict(waits),
        all_started,
        all_waited,
        trained or 0,
    )
