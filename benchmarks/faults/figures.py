"""How long it took until a fault was over, and how much work it cost, from the history of a run."""

from itertools import pairwise, takewhile
from typing import NamedTuple

from benchmarks.faults.history import History, Record

# While one of these lasts, nobody can write down that a checkpoint was saved; a frozen worker
# cannot either.
SILENCING = ("postgres killed", "postgres restarted", "disk full")
# After an outage of the database the reaper gives workers the time of a lease to be heard again.
DELAYING = ("postgres killed", "postgres restarted")
DELAYED_SECONDS = 5.0


class Loss(NamedTuple):
    """Work of an attempt that ended by a kill and that the next one did again."""

    job: str
    attempt: int
    seconds: float  # that the training takes for these steps
    disturbed: bool  # another fault kept checkpoints from being written down


class Move(NamedTuple):
    """From a worker's kill until a job that it had is running again."""

    job: str
    seconds: float
    disturbed: bool  # by an outage of the database


class Outage(NamedTuple):
    """Of PostgreSQL, as a reader saw it."""

    seconds: float  # from its end until an answer
    refused: int  # questions without an answer of 200 meanwhile
    after_ready: float  # of the seconds, those since it was ready again


def losses(history: History, pace_seconds: float) -> list[Loss]:
    """`pace_seconds` is what one step of a training takes."""
    found = []
    for job, records in history.trained.items():
        reasons = {
            event["attempt"]: event["reason"]
            for event in history.events[job]
            if event.get("reason") in ("crashed", "lease_expired", "poisoned")
        }
        holders = {
            change["attempt"]: change["by"]
            for change in history.changes[job]
            if change["op"] == "claimed"
        }
        attempts: dict[int, list[Record]] = {}
        for record in records:
            attempts.setdefault(record["attempt"], []).append(record)
        for number, following in pairwise(sorted(attempts)):
            if number not in reasons or attempts[following][0]["op"] != "start":
                continue
            resumed = attempts[following][0]["step"]
            again = [r for r in attempts[number] if r["op"] == "step" and r["step"] > resumed]
            if not again:
                continue
            begin, end = again[0]["at"], again[-1]["at"]
            frozen = _overlaps(history, ("worker frozen",), begin, end, of=holders.get(number))
            disturbed = frozen or _overlaps(history, SILENCING, begin, end)
            found.append(Loss(job, number, len(again) * pace_seconds, disturbed))
    return found


def moves(history: History) -> list[Move]:
    found = []
    for fault in history.of("fault"):
        if fault["kind"] != "worker killed":
            continue
        for job, changes in history.changes.items():
            before = [change for change in changes if change["at"] <= fault["at"]]
            if not before or before[-1]["state"] != "running":
                continue
            claimed = next(change for change in reversed(before) if change["op"] == "claimed")
            if claimed["by"] not in fault["target"]:
                continue
            later = [change for change in changes if change["at"] > fault["at"]]
            again = next((change["at"] for change in later if change["op"] == "claimed"), None)
            if again is not None and not any(c["held"] for c in later if c["at"] < again):
                disturbed = _overlaps(history, DELAYING, fault["at"] - DELAYED_SECONDS, again)
                found.append(Move(job, again - fault["at"], disturbed))
    return found


def consuming_again(history: History) -> list[tuple[str, float]]:
    """After faults of Redis: the kind, and the seconds until every worker that lives waits for
    messages again. A restart counts from when it is ready, a dead connection from its death."""
    found = []
    asked: dict[str, list[float]] = {}
    for record in history.of("consuming"):
        asked.setdefault(record["by"], []).append(record["at"])
    healed = _healed(history)
    gone: dict[str, float] = {}
    for record in history.of("down", "fault"):
        if record["op"] == "down":
            gone.setdefault(record["by"], record["at"])
        elif record["kind"] in ("worker frozen", "worker drained"):
            for name in record["target"]:
                gone.setdefault(name, record["at"])
    redis = [f for f in history.of("fault") if f["kind"].startswith("redis")]
    for fault in redis:
        at = fault["at"]
        if fault["kind"] == "redis restarted":
            at = healed[fault["kind"], fault["number"]]
        breaking = (f["at"] for f in redis if f["at"] > at and f["kind"] != "redis flushed")
        following = min(breaking, default=history.end)
        for name, moments in asked.items():
            if moments[0] > fault["at"] or gone.get(name, history.end) < following:
                continue
            if fault["kind"] == "redis half open" and name not in fault["target"]:
                continue
            again = next((moment for moment in moments if moment > at), following)
            if again < following or following == history.end:
                found.append((fault["kind"], min(again, following) - at))
    return found


def outages(history: History) -> list[Outage]:
    """Those during which the API was not killed too."""
    found = []
    probes = list(history.of("probe"))
    healed = _healed(history)
    for fault in history.of("fault"):
        if not fault["kind"].startswith("postgres"):
            continue
        ready = healed[fault["kind"], fault["number"]]
        if _overlaps(history, ("api killed",), fault["at"] - 15, ready + 15):
            continue
        after = [probe for probe in probes if probe["at"] > fault["at"]]
        refused = list(takewhile(lambda probe: probe["status"] != 200, after))
        if refused and len(refused) < len(after):
            answered = after[len(refused)]
            seconds = answered["at"] + answered["seconds"]
            found.append(Outage(seconds - fault["at"], len(refused), max(0.0, seconds - ready)))
    return found


def _overlaps(
    history: History, kinds: tuple[str, ...], begin: float, end: float, of: str | None = None
) -> bool:
    """Whether a fault of these kinds was there between the two moments, `of` a process or any."""
    healed = _healed(history)
    return any(
        fault["kind"] in kinds
        and fault["at"] <= end
        and healed.get((fault["kind"], fault["number"]), history.end) >= begin
        and (of is None or of in fault["target"])
        for fault in history.of("fault")
    )


def _healed(history: History) -> dict[tuple[str, int], float]:
    return {(r["kind"], r["number"]): r["at"] for r in history.of("healed")}
