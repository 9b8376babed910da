"""A sweep from its submission to the published network, with real workers and a real reaper."""

import json
from pathlib import Path

import psycopg

from service.db.notifications import MODEL_VERSIONS
from tests.integration.machine import Machine, wait_for
from tests.integration.scripted_sweep import check_sweep, reaper, submit_sweep, wait_sweep
from tests.sweep_records import Bench


def test_a_sweep_over_two_workers(machine: Machine, tmp_path: Path) -> None:
    bench = Bench(machine.settings, machine.database)
    sweep_id = submit_sweep(bench)
    url = machine.settings.database_url.get_secret_value().replace("+psycopg", "", 1)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"LISTEN {MODEL_VERSIONS}")
        workers = [machine.start_worker("tests.integration.scripted_sweep") for _ in range(2)]
        logs = [tmp_path / f"worker-{number}.log" for number in range(len(workers))]
        wait_for(lambda: all(" is warm" in log.read_text() for log in logs), "warm trainers", 60)
        with reaper(machine):
            wait_sweep(bench, sweep_id)
        news = [json.loads(notice.payload) for notice in connection.notifies(timeout=0.1)]
    check_sweep(bench, sweep_id)
    assert len({attempt.worker_id for attempt in bench.attempts()}) == len(workers)
    assert bench.row(sweep_id).trials["pruned"] >= 1
    # The APIs load the best network and no other one.
    assert {each["artifact_path"] for each in news} == {bench.versions()[0].artifact_path}
