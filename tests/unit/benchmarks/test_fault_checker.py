"""The checker finds each violation in a history made by hand, and nothing in a good one."""

from collections.abc import Callable

import pytest

from benchmarks.faults.checker import CHECKS, check
from benchmarks.faults.history import History, Record

JOB, LATER = "01-a", "02-b"
W1, W2 = "id-1", "id-2"


def change(n: int, op: str, by: str, state: str, attempt: int, **more: object) -> Record:
    known = {"worker": None, "seq": 1, "held": False, "cancel": False, "job": JOB}
    return {
        "op": op,
        "at": float(n),
        "n": n,
        "by": by,
        "state": state,
        "attempt": attempt,
        **known,
        **more,
    }


def event(seq: int, attempt: int, type_: str, **more: object) -> Record:
    known = {"op": "event", "at": float(seq), "job": JOB, "seq": seq, "attempt": attempt}
    return {**known, "type": type_, **more}


def good() -> list[Record]:
    """A job whose first worker is killed after a checkpoint, and that a second one finishes."""
    return [
        {"op": "worker", "at": 0.0, "n": 1, "by": "worker-1.1", "worker": W1},
        {"op": "worker", "at": 0.0, "n": 2, "by": "worker-2.1", "worker": W2},
        {"op": "accepted", "at": 3.5, "job": JOB, "number": 1, "fate": "fine", "status": 202},
        change(3, "submitted", "api.1", "queued", 0, number="1"),
        change(4, "claimed", "worker-1.1", "running", 1, seq=2),
        {"op": "start", "at": 4.1, "job": JOB, "attempt": 1, "pid": 70, "step": 0},
        {"op": "step", "at": 4.2, "job": JOB, "attempt": 1, "pid": 70, "step": 1},
        change(5, "checkpoint", "worker-1.1", "running", 1, worker=W1, seq=3),
        change(6, "heartbeat", "worker-1.1", "running", 1, worker=W1, seq=3),
        {"op": "fault", "at": 6.5, "kind": "worker killed", "number": 1, "target": ["worker-1.1"]},
        {"op": "down", "at": 6.5, "by": "worker-1.1", "pid": 60},
        change(8, "released", "reaper.1", "queued", 1, worker=W1, seq=4),
        change(9, "claimed", "worker-2.1", "running", 2, seq=5),
        {"op": "start", "at": 9.1, "job": JOB, "attempt": 2, "pid": 71, "step": 1},
        change(10, "ended", "worker-2.1", "succeeded", 2, worker=W2, seq=6),
        event(1, 0, "state", reason="submitted"),
        event(2, 1, "state", reason="claimed"),
        event(3, 1, "checkpoint", step=1),
        event(4, 1, "state", reason="lease_expired"),
        event(5, 2, "state", reason="claimed"),
        event(6, 2, "state", reason="finished"),
        {"op": "version", "at": 10.0, "job": JOB, "attempt": 2},
        {"op": "probe", "at": 5.0, "status": 200, "seconds": 0.1},
        {"op": "probe", "at": 6.0, "status": 503, "seconds": 0.1},
    ]


def found(records: list[Record]) -> dict[str, list[str]]:
    return {name: what for name, what in check(History(records)).items() if what}


def replaced(records: list[Record], n: int, **values: object) -> list[Record]:
    return [{**record, **values} if record.get("n") == n else record for record in records]


def without(records: list[Record], condition: Callable[[Record], bool]) -> list[Record]:
    return [record for record in records if not condition(record)]


def test_a_good_history_has_no_violation() -> None:
    assert found(good()) == {}


def test_an_acknowledged_submission_that_is_not_there_is_lost() -> None:
    gone = {"op": "accepted", "at": 1.0, "job": LATER, "number": 2, "fate": "fine", "status": 202}
    assert found([*good(), gone]) == {"lost": [f"{LATER}: acknowledged, and not in the database"]}


def test_a_job_that_did_not_end_is_lost() -> None:
    records = without(good(), lambda r: r.get("n") == 10 or r["op"] == "version")
    records = without(records, lambda r: r["op"] == "event" and r["seq"] == 6)
    assert found(records) == {"lost": [f"{JOB}: still running at the end"]}


def test_one_submission_that_made_two_jobs() -> None:
    twin = [
        change(11, "submitted", "api.2", "queued", 0, number="1", job=LATER),
        change(12, "ended", "api.2", "cancelled", 0, job=LATER, cancel=True),
        {**event(1, 0, "state", reason="submitted"), "job": LATER},
    ]
    assert found([*good(), *twin]) == {"submitted twice": [f"submission 1: {JOB}, {LATER}"]}


def test_a_second_success() -> None:
    again = change(11, "ended", "worker-2.1", "succeeded", 2, worker=W2, seq=6)
    assert "completed twice" in found([*good(), again])


def test_a_change_after_the_end() -> None:
    late = change(11, "write", "api.1", "succeeded", 2, seq=7)
    records = [*good(), late, event(7, 2, "message")]
    assert found(records) == {"completed twice": [f"{JOB}: write after it had succeeded"]}


def test_the_reaper_forgets_checkpoints_after_the_end() -> None:
    assert found([*good(), change(11, "write", "reaper.1", "succeeded", 2, seq=6)]) == {}


def test_a_retry_is_no_change_after_the_end() -> None:
    records = replaced(good(), 8, op="ended", state="failed", by="worker-1.1")
    records = without(records, lambda r: r["op"] == "event" and r["seq"] > 3)
    records += [
        event(4, 1, "state", reason="failed", error="insufficient-storage"),
        change(8.5, "retried", "api.1", "queued", 1, seq=5),  # type: ignore[arg-type]
        event(5, 1, "state", reason="retried"),
        event(6, 2, "state", reason="claimed"),
        event(7, 2, "state", reason="finished"),
    ]
    records = replaced(replaced(records, 9, seq=6), 10, seq=7)
    assert found(records) == {}


def test_a_success_that_is_retried() -> None:
    again = change(11, "retried", "api.1", "queued", 2, seq=6)
    assert "completed twice" in found([*good(), again])


def test_an_event_of_an_older_attempt() -> None:
    late = event(7, 1, "metrics")
    records = replaced([*good(), late], 10, seq=7)
    assert found(records) == {"stale writes accepted": [f"{JOB}: event 7 is of attempt 1 < 2"]}


@pytest.mark.parametrize("op", ["heartbeat", "checkpoint", "write"])
def test_a_write_of_a_worker_that_does_not_hold_the_job(op: str) -> None:
    late = change(9.5, op, "worker-1.1", "running", 2, worker=W2, seq=5)  # type: ignore[arg-type]
    assert found([*good(), late]) == {
        "stale writes accepted": [f"{JOB}: {op} by worker-1.1, and worker-2.1 holds it"]
    }


def test_an_end_by_a_worker_that_does_not_hold_the_job() -> None:
    assert "stale writes accepted" in found(replaced(good(), 10, by="worker-1.1"))


def test_an_attempt_that_is_not_counted() -> None:
    assert "stale writes accepted" in found(replaced(good(), 9, attempt=1))


def test_a_version_of_an_older_attempt() -> None:
    records = without(good(), lambda r: r["op"] == "version")
    records.append({"op": "version", "at": 10.0, "job": JOB, "attempt": 1})
    assert found(records) == {"stale writes accepted": [f"{JOB}: a version of attempt 1"]}


def test_two_trainers_of_one_attempt() -> None:
    second = {"op": "start", "at": 5.0, "job": JOB, "attempt": 1, "pid": 99, "step": 0}
    assert found([*good(), second]) == {
        "attempts started twice": [f"{JOB}: attempt 1 by 70 and 99"]
    }


def test_a_cancel_that_was_forgotten() -> None:
    asked = {"op": "asked", "at": 6.0, "what": "cancel", "job": JOB, "status": 202}
    assert found([*good(), asked]) == {
        "cancels ignored": [f"{JOB}: the acknowledged cancel is not in the database"]
    }


def test_a_cancel_that_did_not_win() -> None:
    records = replaced(replaced(good(), 9, cancel=True), 10, cancel=True)
    assert found(records) == {"cancels ignored": [f"{JOB}: succeeded after a cancel was accepted"]}


def test_a_version_without_a_success() -> None:
    records = replaced(good(), 10, state="cancelled")
    assert found(records) == {
        "versions without a job that succeeded, and the reverse": [
            f"{JOB}: 1 versions, and it is cancelled"
        ]
    }


def test_a_success_without_a_version() -> None:
    records = without(good(), lambda r: r["op"] == "version")
    assert found(records) == {
        "versions without a job that succeeded, and the reverse": [
            f"{JOB}: 0 versions, and it is succeeded"
        ]
    }


@pytest.mark.parametrize("seq", [1, 4, 6])
def test_a_hole_in_the_events(seq: int) -> None:
    records = without(good(), lambda r: r["op"] == "event" and r["seq"] == seq)
    assert "holes in the events" in found(records)


def test_a_running_job_of_which_nothing_is_heard() -> None:
    records = replaced(good(), 10, at=70.5)
    assert found(records) == {"stuck over 60 s": [f"{JOB}: running, and silent for 62 s"]}


def test_a_queue_that_nobody_takes_from() -> None:
    records = replaced(replaced(good(), 9, at=70.0), 10, at=71.0)
    assert found(records) == {
        "stuck over 60 s": [f"{JOB}: queued, and nothing was claimed for 62 s"]
    }


def other_jobs(until: int) -> list[Record]:
    """Later ones that are taken every ten seconds."""
    records: list[Record] = []
    for number in range(until // 10):
        job, n = f"02-{number}", 100 + 10 * number
        at, known = 10.0 * number, {"job": job}
        records += [
            change(n, "submitted", "api.1", "queued", 0, **known, number=job) | {"at": at},
            change(n + 1, "claimed", "worker-2.1", "running", 1, **known) | {"at": at + 1},
            change(n + 2, "ended", "worker-2.1", "cancelled", 1, worker=W2, **known)
            | {"at": at + 2},
            {**event(1, 0, "state", reason="submitted"), "job": job},
        ]
    return records


def test_a_job_that_is_passed_over() -> None:
    records = replaced(replaced(good(), 9, at=90.0), 10, at=91.0)
    assert found([*records, *other_jobs(90)]) == {
        "stuck over 60 s": [f"{JOB}: queued for 82 s, and a later job was taken"]
    }


def test_a_held_job_may_wait() -> None:
    records = replaced(replaced(replaced(good(), 8, held=True), 9, at=90.0), 10, at=91.0)
    assert found([*records, *other_jobs(90)]) == {}


def test_a_long_queue_that_moves_is_not_stuck() -> None:
    """The job is the last of those that are taken."""
    records = replaced(replaced(good(), 9, at=90.0), 10, at=91.0)
    others = [
        {**record, "job": record["job"].replace("02-", "00-")} if "job" in record else record
        for record in other_jobs(90)
    ]
    assert found([*records, *others]) == {}


def test_an_end_that_the_training_did_not_have() -> None:
    records = replaced(good(), 10, state="failed")
    records = without(records, lambda r: r["op"] == "version" or r.get("reason") == "finished")
    records.append(event(6, 2, "state", reason="failed", error="trainer-error"))
    assert found(records) == {
        "ended otherwise than they had to": [f"{JOB}: trainer-error, and its training is fine"]
    }


def test_a_job_that_is_given_up_too_early() -> None:
    records = replaced(good(), 10, state="failed")
    records = without(records, lambda r: r["op"] == "version" or r.get("reason") == "finished")
    records.append(event(6, 2, "state", reason="poisoned", error="poisoned"))
    records = [{**r, "fate": "killed"} if r["op"] == "accepted" else r for r in records]
    assert found(records) == {
        "ended otherwise than they had to": [
            f"{JOB}: poisoned after 2 attempts without a checkpoint"
        ]
    }


@pytest.mark.parametrize("status", [401, 404, 500, None])
def test_a_wrong_answer(status: int | None) -> None:
    probe = {"op": "probe", "at": 7.0, "status": status, "seconds": 0.1}
    assert list(found([*good(), probe])) == ["wrong answers"]


def test_a_killed_api_need_not_answer() -> None:
    records = [
        {"op": "down", "at": 6.9, "by": "api.1", "pid": 1},
        {"op": "up", "at": 7.5, "by": "api.2", "pid": 2},
        {"op": "probe", "at": 7.0, "status": None, "seconds": 0.1},
    ]
    assert found([*good(), *records]) == {}


@pytest.mark.parametrize(("healed_at", "count"), [(9.0, 0), (90.0, 1), (None, 1)])
def test_a_worker_that_sleeps_through_its_signal(healed_at: float | None, count: int) -> None:
    drained = {"kind": "worker drained", "number": 1, "target": ["worker-1.2"]}
    records = [{"op": "fault", "at": 7.0, **drained}, {"op": "probe", "at": 99.0, **OK}]
    if healed_at is not None:
        records.append({"op": "healed", "at": healed_at, **drained})
    assert len(found([*good(), *records]).get("workers that did not drain", [])) == count


OK = {"status": 200, "seconds": 0.1}


def test_every_check_has_a_history_that_fails_it() -> None:
    """So that none of them finds nothing whatever it reads."""
    injected = {
        "lost",
        "submitted twice",
        "completed twice",
        "stale writes accepted",
        "attempts started twice",
        "cancels ignored",
        "versions without a job that succeeded, and the reverse",
        "holes in the events",
        "stuck over 60 s",
        "ended otherwise than they had to",
        "wrong answers",
        "workers that did not drain",
    }
    assert set(CHECKS) == injected
