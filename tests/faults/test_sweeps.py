"""A sweep whose controller is killed: nothing is lost and nothing doubled."""

import random
import time

from tests.integration.machine import Machine, wait_for
from tests.integration.scripted_sweep import check_sweep, reaper, submit_sweep, wait_sweep
from tests.sweep_records import Bench

KILLS = 5


def test_a_reaper_that_is_killed_again_and_again(machine: Machine) -> None:
    bench = Bench(machine.settings, machine.database)
    sweep_id = submit_sweep(bench)
    machine.start_worker("tests.integration.scripted_sweep")
    lives = random.Random(1)
    for _ in range(KILLS):
        done = bench.told(sweep_id)
        with reaper(machine) as process:
            wait_for(lambda done=done: bench.told(sweep_id) > done, "a step of the sweep", 60)
            time.sleep(lives.uniform(0, 0.5))
            process.kill()
    with reaper(machine):
        wait_sweep(bench, sweep_id)
    check_sweep(bench, sweep_id)
