"""The result of a run as a Markdown page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.faults import checker, figures
from benchmarks.faults.faults import KINDS
from benchmarks.faults.scripted import SECONDS_A_STEP
from benchmarks.faults.storm import Plan, Run
from benchmarks.quality.rows import Place
from service.jobs.states import JobState

ELSEWHERE_SECONDS = 30.0
CONSUMING_SECONDS = 30.0
ANSWERING_SECONDS = 10.0
RECORD_SECONDS = 1.0  # from a checkpoint on disk until its row names it


class Row(NamedTuple):
    """A time or an amount, what it may be at most, and how often it was taken."""

    what: str
    values: Sequence[float]
    limit: float | None

    @property
    def holds(self) -> bool:
        return self.limit is None or not self.values or max(self.values) <= self.limit


def render(
    plan: Plan,
    run: Run,
    violations: Mapping[str, list[str]],
    races: Counter[JobState],
) -> str:
    there, settings = Place.here("cpu"), run.settings
    ops = Counter(record["op"] for record in run.history.records)
    return "\n".join(
        [
            "# Jobs under faults",
            "",
            f"Made by `python -m benchmarks.faults --jobs {plan.load.jobs} --faults {plan.faults}"
            f" --seed {plan.seed}` in {run.seconds / 60:.0f} minutes.",
            "",
            f"- {there.machine}, {there.cores} cores, commit {there.commit}, {there.day}",
            f"- {plan.workers} workers of {settings.worker_slots} slots, an API, a reaper,"
            " PostgreSQL and Redis, each a process; trainings without torch of"
            f" {plan.load.steps[0]} to {plan.load.steps[1]} steps of {SECONDS_A_STEP:g} s",
            f"- lease {settings.lease_seconds:g} s, heartbeat {settings.heartbeat_seconds:g} s,"
            f" reaper every {settings.reaper_interval_seconds:g} s, workers look every"
            f" {settings.worker_poll_seconds:g} s, checkpoint every"
            f" {settings.checkpoint_interval_seconds:g} s",
            f"- the history: {ops.total():,} records, of them {ops['accepted']:,} submissions,"
            f" {ops['claimed']:,} claims, {ops['heartbeat']:,} heartbeats,"
            f" {ops['event']:,} events, {ops['step']:,} steps",
            "",
            "| must not happen | found |",
            "| --- | --- |",
            *(f"| {name} | {len(found)} |" for name, found in violations.items()),
            "",
            "| measured | times | median | most | at most |",
            "| --- | --- | --- | --- | --- |",
            *map(_line, rows(run)),
            "",
            "Disturbed: by another fault at the same time. After an outage of PostgreSQL the reaper"
            " gives workers the time of a lease. During one, while the disk is full and while a"
            " worker is frozen, nobody writes down that a checkpoint was saved.",
            "",
            "| fault | times |",
            "| --- | --- |",
            *(f"| {kind.name} | {_times(run, kind.name)} |" for kind in KINDS),
            f"| together with the one before | {run.pairs} |",
            "",
            f"Cancel against completion, {races.total():,} races with one end each: the job was"
            f" cancelled {races[JobState.CANCELLED]:,} times, and had succeeded"
            f" {races[JobState.SUCCEEDED]:,} times.",
            "",
        ]
    )


def rows(run: Run) -> list[Row]:
    history, settings = run.history, run.settings
    lost = figures.losses(history, SECONDS_A_STEP)
    moved = figures.moves(history)
    consuming = figures.consuming_again(history)
    out = figures.outages(history)
    interval = settings.checkpoint_interval_seconds + RECORD_SECONDS

    def of_redis(kind: str) -> list[float]:
        return [seconds for name, seconds in consuming if name == kind]

    return [
        Row(
            "worker killed, until its job runs elsewhere, s",
            [move.seconds for move in moved if not move.disturbed],
            ELSEWHERE_SECONDS,
        ),
        Row(
            "the same, disturbed, s",
            [move.seconds for move in moved if move.disturbed],
            checker.STUCK_SECONDS,
        ),
        Row(
            "work done again after a kill, s of training",
            [loss.seconds for loss in lost if not loss.disturbed],
            interval,
        ),
        Row("the same, disturbed, s", [loss.seconds for loss in lost if loss.disturbed], None),
        *(
            Row(f"{kind}, until a worker consumes, s", of_redis(kind), CONSUMING_SECONDS)
            for kind in ("redis restarted", "redis half open", "redis flushed")
        ),
        Row(
            "PostgreSQL restarted or killed, until 200, s",
            [outage.seconds for outage in out],
            ANSWERING_SECONDS,
        ),
        Row("answers other than 200 meanwhile", [outage.refused for outage in out], None),
    ]


def _line(row: Row) -> str:
    limit = "" if row.limit is None else f"{row.limit:g}"
    if not row.values:
        return f"| {row.what} | 0 | | | {limit} |"
    return (
        f"| {row.what} | {len(row.values)} | {median(row.values):.1f} |"
        f" {max(row.values):.1f} | {limit} |"
    )


def _times(run: Run, kind: str) -> str:
    if kind in run.not_possible:
        return "not possible on this machine"
    return str(run.faults[kind])
