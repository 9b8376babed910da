"""Times that are read from histories made by hand."""

import pytest

from benchmarks.faults.figures import Loss, Move, Outage, consuming_again, losses, moves, outages
from benchmarks.faults.history import History, Record
from tests.unit.benchmarks.test_fault_checker import JOB, change, event, good

PACE = 0.02


def fault(at: float, kind: str, *target: str, number: int = 9) -> Record:
    return {"op": "fault", "at": at, "kind": kind, "number": number, "target": list(target)}


def healed(at: float, kind: str, number: int = 9) -> Record:
    return {"op": "healed", "at": at, "kind": kind, "number": number, "target": []}


def steps(first: int, last: int) -> list[Record]:
    known = {"op": "step", "job": JOB, "attempt": 1, "pid": 70}
    return [{**known, "at": 4.2 + step / 100, "step": step} for step in range(first, last + 1)]


def consuming(by: str, *moments: float) -> list[Record]:
    return [{"op": "consuming", "at": at, "by": by} for at in moments]


def probe(at: float, status: int | None) -> Record:
    return {"op": "probe", "at": at, "status": status, "seconds": 0.5}


def test_work_after_the_last_checkpoint_is_lost() -> None:
    history = History([*good(), *steps(2, 6)])
    assert losses(history, PACE) == [Loss(JOB, 1, pytest.approx(0.1), False)]


def test_a_drained_attempt_loses_nothing() -> None:
    records = [r for r in good() if r.get("reason") != "lease_expired"]
    records.append(event(4, 1, "state", reason="drained"))
    assert losses(History([*records, *steps(2, 6)]), PACE) == []


def test_a_loss_while_nobody_could_write_down_a_checkpoint() -> None:
    outage = [fault(4.0, "postgres killed", "postgres"), healed(5.0, "postgres killed")]
    (loss,) = losses(History([*good(), *steps(2, 6), *outage]), PACE)
    assert loss.disturbed


@pytest.mark.parametrize(("name", "disturbed"), [("worker-1.1", True), ("worker-2.1", False)])
def test_a_loss_while_its_worker_is_frozen(name: str, disturbed: bool) -> None:
    frozen = [fault(4.0, "worker frozen", name), healed(20.0, "worker frozen")]
    (loss,) = losses(History([*good(), *steps(2, 6), *frozen]), PACE)
    assert loss.disturbed is disturbed


def test_a_job_moves_from_a_killed_worker() -> None:
    assert moves(History(good())) == [Move(JOB, 2.5, False)]


def test_a_job_of_another_worker_does_not_move() -> None:
    records = [{**r, "target": ["worker-9.1"]} if r["op"] == "fault" else r for r in good()]
    assert moves(History(records)) == []


def test_a_move_while_the_database_is_gone() -> None:
    gone = [fault(6.0, "postgres killed", "postgres"), healed(7.0, "postgres killed")]
    (move,) = moves(History([*good(), *gone]))
    assert move.disturbed


def test_workers_consume_again_after_redis_was_restarted() -> None:
    """From when it is ready."""
    records = [
        *consuming("worker-1.1", 1, 2, 12, 13),
        *consuming("worker-2.1", 1, 14),
        fault(5.0, "redis restarted", "redis"),
        healed(10.0, "redis restarted"),
        change(20, "write", "api.1", "queued", 0),
    ]
    assert consuming_again(History(records)) == [("redis restarted", 2.0), ("redis restarted", 4.0)]


def test_workers_that_end_need_not_consume_again() -> None:
    records = [
        *consuming("worker-1.1", 1),
        fault(5.0, "redis flushed", "redis"),
        {"op": "down", "at": 7.0, "by": "worker-1.1", "pid": 1},
        change(20, "write", "api.1", "queued", 0),
    ]
    assert consuming_again(History(records)) == []


def test_a_worker_that_does_not_consume_again() -> None:
    """It counts with the time in which it could have."""
    records = [
        *consuming("worker-1.1", 1),
        fault(5.0, "redis flushed", "redis"),
        change(50, "write", "api.1", "queued", 0),
    ]
    assert consuming_again(History(records)) == [("redis flushed", 45.0)]


def test_only_the_processes_with_dead_connections_count() -> None:
    records = [
        *consuming("worker-1.1", 1, 5.5),
        *consuming("worker-2.1", 1, 16),
        fault(5.0, "redis half open", "worker-2.1"),
        healed(30.0, "redis half open"),
    ]
    assert consuming_again(History(records)) == [("redis half open", 11.0)]


def test_an_outage_lasts_until_the_first_answer() -> None:
    records = [
        probe(4.0, 200),
        fault(5.0, "postgres restarted", "postgres"),
        probe(5.1, 503),
        probe(6.0, 503),
        healed(6.5, "postgres restarted"),
        probe(7.0, 200),
    ]
    assert outages(History(records)) == [Outage(2.5, 2, 1.0)]


def test_an_outage_while_the_api_is_killed_says_nothing() -> None:
    records = [
        fault(5.0, "postgres restarted", "postgres"),
        fault(5.0, "api killed", "api.1", number=10),
        probe(5.1, None),
        healed(6.5, "postgres restarted"),
        healed(6.5, "api killed", number=10),
        probe(7.0, 200),
    ]
    assert outages(History(records)) == []
