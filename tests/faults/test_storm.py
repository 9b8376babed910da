"""The storm of `benchmarks/faults`, short: the whole service under every kind of fault."""

import tempfile
from pathlib import Path

from benchmarks.faults.checker import check
from benchmarks.faults.history import write
from benchmarks.faults.storm import Plan, run, to_stderr
from benchmarks.faults.users import Load
from tests.disks import place

PLAN = Plan(
    load=Load(jobs=32, steps=(20, 120), at_once=16, spread_seconds=12.0, answer_seconds=10.0),
    faults=13,  # every kind once
    seed=1,
    workers=3,
    pause_seconds=1.0,
    patience_seconds=60.0,
    settings={
        "lease_seconds": 3.0,
        "heartbeat_seconds": 0.5,
        "reaper_interval_seconds": 0.5,
        "worker_poll_seconds": 2.0,
        "cancel_poll_seconds": 0.3,
        "drain_seconds": 5.0,
        "checkpoint_interval_seconds": 0.5,
        "trainer_threads": 1,
        "device": "cpu",
        "kernels": "off",
        "log_level": "WARNING",
    },
)


def test_no_job_is_lost_whatever_breaks(tmp_path: Path) -> None:
    """The history stays in pytest's folder, for whoever has to find out why."""
    with tempfile.TemporaryDirectory(prefix="reprise-storm-", dir=place()) as folder:
        done = run(PLAN, Path(folder), to_stderr)
    write(tmp_path / "history.jsonl", done.history.records)
    assert {name: found for name, found in check(done.history).items() if found} == {}
    answered = [*done.history.of("accepted"), *done.history.of("refused")]
    assert len({record["number"] for record in answered}) == PLAN.load.jobs
    assert done.faults.total() == PLAN.faults
