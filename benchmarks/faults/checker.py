"""Reads the history of a run and says what must not have happened.

Nothing here knows how the service works inside: who wrote is told by the name of the database
connection, not by the attempt that the writer believes in.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

from benchmarks.faults.history import TERMINAL, History, Record

STUCK_SECONDS = 60.0
DRAINED = "worker drained"  # the name of a kind of fault
ANSWER_SECONDS = 10.0  # from a started process or database to answers

# How a job may end that nobody cancelled, by the fate of its training. A job that failed because
# of a fault is retried by whoever watches the run, so that it is not its end.
ENDS = {
    "fine": "succeeded",
    "killed once": "succeeded",
    "killed": "poisoned",
    "diverges": "diverged",
    "defective": "trainer-error",
}


def check(history: History) -> dict[str, list[str]]:
    """What was found, by the name of the violation; each list is empty after a good run."""
    return {name: list(find(history)) for name, find in CHECKS.items()}


def lost(history: History) -> Iterator[str]:
    """Submissions that were acknowledged and are not there, and jobs that did not end."""
    for accepted in history.of("accepted"):
        if history.last(accepted["job"]) is None:
            yield f"{accepted['job']}: acknowledged, and not in the database"
    for job, changes in history.changes.items():
        if changes[-1]["state"] not in TERMINAL:
            yield f"{job}: still {changes[-1]['state']} at the end"


def submitted_twice(history: History) -> Iterator[str]:
    """Submissions, sent again under one key, that made more than one job."""
    made: dict[str, list[str]] = {}
    for submitted in history.of("submitted"):
        made.setdefault(submitted["number"], []).append(submitted["job"])
    for number, jobs in made.items():
        if len(jobs) > 1:
            yield f"submission {number}: {', '.join(jobs)}"


def completed_twice(history: History) -> Iterator[str]:
    """Jobs that went on after an end without a retry, or that succeeded more than once.

    A write without an event is none: the reaper forgets checkpoints.
    """
    for job, changes in history.changes.items():
        if (
            sum(change["op"] == "ended" and change["state"] == "succeeded" for change in changes)
            > 1
        ):
            yield f"{job}: succeeded more than once"
        for before, after in pairwise(changes):
            silent = after["op"] == "write" and after["seq"] == before["seq"]
            if before["state"] in TERMINAL and after["op"] != "retried" and not silent:
                yield f"{job}: {after['op']} after it had {before['state']}"
            elif before["state"] == "succeeded" and not silent:
                yield f"{job}: tried again after it had succeeded"


def stale_writes(history: History) -> Iterator[str]:
    """Writes that were accepted from an attempt after a later one was claimed, or of a worker that
    did not hold the job."""
    for job, events in history.events.items():
        newest = 0
        for event in events:
            if event["attempt"] < newest:
                yield f"{job}: event {event['seq']} is of attempt {event['attempt']} < {newest}"
            newest = max(newest, event["attempt"])
    for job, changes in history.changes.items():
        for change in changes:
            if not change["by"].startswith("worker") or change["op"] == "claimed":
                continue
            holder = history.workers.get(change["worker"] or "")
            if holder != change["by"]:
                yield f"{job}: {change['op']} by {change['by']}, and {holder} holds it"
        for before, after in pairwise(changes):
            expected = before["attempt"] + (after["op"] == "claimed")
            if after["attempt"] != expected:
                yield f"{job}: attempt {after['attempt']} after {before['attempt']}"
    for job, versions in history.versions.items():
        last = history.last(job)
        for version in versions:
            if last is None or version["attempt"] != last["attempt"]:
                yield f"{job}: a version of attempt {version['attempt']}"


def started_twice(history: History) -> Iterator[str]:
    """Attempts that two trainers worked on."""
    for job, records in history.trained.items():
        trainers: dict[int, int] = {}
        for record in records:
            first = trainers.setdefault(record["attempt"], record["pid"])
            if record["op"] == "start" and first != record["pid"]:
                yield f"{job}: attempt {record['attempt']} by {first} and {record['pid']}"


def cancels_ignored(history: History) -> Iterator[str]:
    """Cancels that were acknowledged, and the job ended otherwise or did not know of it."""
    for asked in history.of("asked"):
        if asked["what"] == "cancel" and asked["status"] == 202:
            known = history.changes.get(asked["job"], [])
            if not any(change["cancel"] for change in known):
                yield f"{asked['job']}: the acknowledged cancel is not in the database"
    for job, changes in history.changes.items():
        for before, after in pairwise(changes):
            if before["cancel"] and after["op"] == "ended" and after["state"] != "cancelled":
                yield f"{job}: {after['state']} after a cancel was accepted"


def versions(history: History) -> Iterator[str]:
    """Versions without a job that succeeded, and the reverse."""
    for job in history.changes.keys() | history.versions.keys():
        last = history.last(job)
        succeeded = last is not None and last["state"] == "succeeded"
        count = len(history.versions.get(job, []))
        if count != succeeded:
            yield f"{job}: {count} versions, and it is {last and last['state']}"


def holes(history: History) -> Iterator[str]:
    """Events that are missing, or that the row does not count."""
    for job, changes in history.changes.items():
        found = [event["seq"] for event in history.events.get(job, [])]
        if found != list(range(1, changes[-1]["seq"] + 1)):
            yield f"{job}: {len(found)} events, the row counts {changes[-1]['seq']}"


def stuck(history: History) -> Iterator[str]:
    """Running jobs of which nothing was heard for `STUCK_SECONDS`; waiting jobs while nothing was
    claimed for so long, or while a job that had come later was."""
    claims = [(claim["at"], claim["job"]) for claim in history.of("claimed")]
    for job, changes in history.changes.items():
        for change, until in zip(changes, [*changes[1:], None], strict=True):
            silent = (history.end if until is None else until["at"]) - change["at"]
            if change["state"] == "running" and silent > STUCK_SECONDS:
                yield f"{job}: running, and silent for {silent:.0f} s"
        for since, until_at in _waits(changes, history.end):
            if until_at - since <= STUCK_SECONDS:
                continue
            others = [(at, other) for at, other in claims if since < at < until_at]
            moments = [since, *(at for at, _ in others), until_at]
            pause = max(later - sooner for sooner, later in pairwise(moments))
            if pause > STUCK_SECONDS:
                yield f"{job}: queued, and nothing was claimed for {pause:.0f} s"
            if any(other > job and at > since + STUCK_SECONDS for at, other in others):
                yield f"{job}: queued for {until_at - since:.0f} s, and a later job was taken"


def _waits(changes: list[Record], end: float) -> Iterator[tuple[float, float]]:
    """The times in which a job could have been claimed and was not."""
    since: float | None = None
    for change in changes:
        could = change["state"] == "queued" and not change["held"]
        if could and since is None:
            since = change["at"]
        elif not could and since is not None:
            yield since, change["at"]
            since = None
    if since is not None:
        yield since, end


def wrong_ends(history: History) -> Iterator[str]:
    """Jobs that did not end as their training had to, and poisoned ones that made progress."""
    for accepted in history.of("accepted"):
        job = accepted["job"]
        last = history.last(job)
        if last is None or last["state"] not in TERMINAL:
            continue
        how = last["state"]
        if how == "failed":
            how = next((e["error"] for e in reversed(history.events[job]) if "error" in e), None)
        if how not in (ENDS[accepted["fate"]], "cancelled"):
            yield f"{job}: {how}, and its training is {accepted['fate']}"
    for job, events in history.events.items():
        without_progress = 0
        for event in events:
            reason = event.get("reason")
            if event["type"] == "checkpoint" or reason == "retried":
                without_progress = 0
            elif reason in ("crashed", "lease_expired"):
                without_progress += 1
            elif reason == "poisoned" and without_progress < 2:
                yield f"{job}: poisoned after {without_progress + 1} attempts without a checkpoint"


def answers(history: History) -> Iterator[str]:
    """Answers to a reader other than the job or 503, and none while the API was there."""
    down: list[tuple[float, float]] = []
    for record in history.of("down"):
        if record["by"].startswith("api"):
            ups = [up["at"] for up in history.of("up") if up["at"] > record["at"]]
            back = min(ups, default=history.end)
            down.append((record["at"], back + ANSWER_SECONDS))
    for probe in history.of("probe"):
        until = probe["at"] + probe["seconds"]
        if probe["status"] is None:
            if not any(probe["at"] < end and until > begin for begin, end in down):
                yield f"no answer at {probe['at']:.1f} s"
        elif probe["status"] not in (200, 503):
            yield f"{probe['status']} at {probe['at']:.1f} s"


def drains(history: History) -> Iterator[str]:
    """Workers that were asked to end in order, and did not."""
    ended = {fault["number"]: fault["at"] for fault in history.of("healed")}
    for fault in history.of("fault"):
        if fault["kind"] == DRAINED:
            seconds = ended.get(fault["number"], history.end) - fault["at"]
            if seconds > STUCK_SECONDS:
                yield f"{', '.join(fault['target'])}: had not ended {seconds:.0f} s later"


CHECKS: dict[str, Callable[[History], Iterator[str]]] = {
    "lost": lost,
    "submitted twice": submitted_twice,
    "completed twice": completed_twice,
    "stale writes accepted": stale_writes,
    "attempts started twice": started_twice,
    "cancels ignored": cancels_ignored,
    "versions without a job that succeeded, and the reverse": versions,
    "holes in the events": holes,
    f"stuck over {STUCK_SECONDS:g} s": stuck,
    "ended otherwise than they had to": wrong_ends,
    "wrong answers": answers,
    "workers that did not drain": drains,
}
