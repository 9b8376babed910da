"""How fast jobs are claimed and finished, and what a long queue does to that.

    .venv/bin/python -m benchmarks.faults.claims --out benchmarks/results/claims.md

Worker processes take jobs that train nothing from one PostgreSQL with the functions that workers
use: a claim, then the end that registers a version. Nothing else should want the processor.
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import func, select

from benchmarks.faults.backlog import open_workspaces, queue_jobs
from benchmarks.faults.servers import own_database
from benchmarks.quality.rows import Place
from service.db.engine import Database, make_engine
from service.db.tables import Job, ModelVersion
from service.jobs import endings
from service.jobs.claims import Claim, claim
from service.jobs.endings import Trained
from service.jobs.quotas import default_quota
from service.jobs.states import JobState
from service.jobs.workers import CPU, SERVES
from service.settings import Settings

WORKERS = 4
WORKSPACES = 100
MODELS = 10  # names in each workspace that jobs publish under
CLAIMS = 400  # timed one by one
TARGET = 100.0  # jobs a second
TRAINED = Trained("x", "a" * 64, {"loss": 0.5}, 1, {"step": 1})


class Throughput(NamedTuple):
    jobs: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.jobs / self.seconds


class Figures(NamedTuple):
    """Seconds of single claims, and what all workers do together."""

    short: list[float]
    long: list[float]
    alone: Throughput
    behind: Throughput  # with the long queue
    queued: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=4_000, help="finished for each rate")
    parser.add_argument("--queued", type=int, default=100_000, help="rows of the long queue")
    parser.add_argument("--out", type=Path, help="a Markdown page")
    options = parser.parse_args()
    page = render(measure(options.jobs, options.queued))
    print(page)
    if options.out is not None:
        options.out.write_text(page, encoding="utf-8")


def measure(jobs: int, queued: int) -> Figures:
    with own_database() as settings, connected(settings) as database:
        with database.transaction() as db:
            open_workspaces(db, WORKSPACES)
        fill(database, jobs)
        say(f"{WORKERS} workers, {jobs} jobs")
        alone = throughput(settings, jobs)
        fill(database, CLAIMS + WORKSPACES)
        say(f"{CLAIMS} claims from a short queue")
        short = timed(settings, database)
        fill(database, queued, paused=1, blocked=1)
        say(f"{CLAIMS} claims from a long queue")
        long = timed(settings, database)
        say(f"{WORKERS} workers, {jobs} jobs of a long queue")
        behind = throughput(settings, jobs)
        check(database, alone.jobs + behind.jobs + 2 * CLAIMS)
        return Figures(short, long, alone, behind, queued)


def fill(database: Database, jobs: int, *, paused: int = 0, blocked: int = 0) -> None:
    """Queues so many jobs, the same number in each workspace."""
    with database.transaction() as db:
        each = -(-jobs // WORKSPACES)
        queue_jobs(db, each, models=MODELS, paused=paused, blocked=blocked)


def throughput(settings: Settings, jobs: int) -> Throughput:
    """Of `WORKERS` processes that finish so many jobs together."""
    context = multiprocessing.get_context("spawn")
    start, ended = context.Barrier(WORKERS), context.Queue()
    each = jobs // WORKERS
    workers = [
        context.Process(target=work, args=(settings, each, start, ended)) for _ in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    times = [ended.get() for _ in workers]
    for worker in workers:
        worker.join()
    first, last = min(began for began, _ in times), max(end for _, end in times)
    return Throughput(each * WORKERS, last - first)


def work(
    settings: Settings, jobs: int, start: Barrier, ended: "Queue[tuple[float, float]]"
) -> None:
    """One worker: a claim, an end, and again. Tells when it began and when it ended."""
    with connected(settings) as database:
        worker_id = uuid4()
        with database.transaction() as db:
            db.execute(select(1))
        start.wait()
        began = time.monotonic()
        for _ in range(jobs):
            finish(database, take(settings, database, worker_id))
        ended.put((began, time.monotonic()))


def timed(settings: Settings, database: Database) -> list[float]:
    """Seconds of `CLAIMS` claims one after the other; each job is finished before the next."""
    worker_id, seconds = uuid4(), []
    for _ in range(CLAIMS):
        began = time.perf_counter()
        claimed = take(settings, database, worker_id)
        seconds.append(time.perf_counter() - began)
        finish(database, claimed)
    return seconds


def take(settings: Settings, database: Database, worker_id: UUID) -> Claim:
    with database.transaction() as db:
        claimed = claim(
            db,
            worker_id=worker_id,
            queues=SERVES[CPU],
            lease_seconds=settings.lease_seconds,
            defaults=default_quota(settings),
        )
    assert claimed is not None
    return claimed


def finish(database: Database, claimed: Claim) -> None:
    with database.transaction() as db:
        state = endings.finish(db, claimed.attempt, TRAINED, code_version="benchmark")
    assert state is JobState.SUCCEEDED


def check(database: Database, finished: int) -> None:
    """Every job was finished once, by its first attempt, and made one version."""
    with database.transaction() as db:
        succeeded = select(func.count()).where(Job.state == JobState.SUCCEEDED, Job.attempt == 1)
        assert db.scalar(succeeded) == finished
        assert db.scalar(select(func.count()).select_from(ModelVersion)) == finished


@contextmanager
def connected(settings: Settings) -> Iterator[Database]:
    database = Database(make_engine(settings))
    yield database
    database.close()


def render(figures: Figures) -> str:
    rates = [("nothing else queued", figures.alone), (f"{figures.queued:,} queued", figures.behind)]
    claims = [("a short queue", figures.short), (f"{figures.queued:,} rows", figures.long)]
    ratio = median(figures.long) / median(figures.short)
    there = Place.here("cpu")
    return "\n".join(
        [
            "# Claims",
            "",
            "Made by `python -m benchmarks.faults.claims`: jobs that train nothing, claimed and "
            "finished with the functions of a worker, each job's version registered. One durable "
            f"PostgreSQL on the same machine, {WORKSPACES} workspaces; of ten rows of the long "
            "queue, one is paused and one blocked.",
            "",
            f"- {there.machine}, {there.cores} cores, commit {there.commit}, {there.day}",
            "",
            f"| {WORKERS} worker processes | jobs | seconds | jobs a second | at least |",
            "| --- | --- | --- | --- | --- |",
            *(
                f"| {name} | {rate.jobs:,} | {rate.seconds:.1f} | {rate.rate:.0f} | {TARGET:g} |"
                for name, rate in rates
            ),
            "",
            "| one claim, alone | median ms | 99 of 100 below, ms |",
            "| --- | --- | --- |",
            *(
                f"| {name} | {1e3 * median(seconds):.2f} | {1e3 * high(seconds):.2f} |"
                for name, seconds in claims
            ),
            "",
            f"Long queue against short queue, medians: {ratio:.2f}.",
            "",
        ]
    )


def high(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[-1]


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
