"""Whatever dies in the middle of it: each time of a schedule makes one job."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from service.db.engine import Database
from service.db.tables import Job
from service.schedules.runs import run_due
from tests.integration.machine import ROOT, Machine, environment
from tests.job_records import make_workspace
from tests.schedule_records import keep_dataset, make_schedule, reread


@pytest.mark.parametrize(
    ("point", "queued"),
    [
        ("before the job is prepared", 0),
        ("before the job is queued", 0),
        ("between the job and the next time", 0),
        ("after the commit", 1),
    ],
)
def test_a_killed_scheduler_loses_and_doubles_no_time(
    point: str, queued: int, machine: Machine, database: Database
) -> None:
    with database.transaction() as db:
        workspace_id = make_workspace(db).id
    dataset = keep_dataset(database, machine.artifacts, workspace_id)
    schedule = make_schedule(database, dataset)
    killed = subprocess.run(
        [sys.executable, "-m", "tests.faults.dying_scheduler", point],
        cwd=ROOT,
        env={**os.environ, **environment(machine.settings)},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    next_round = list(run_due(database, machine.artifacts, machine.settings))
    assert len(next_round) == 1 - queued
    with database.transaction() as db:
        (job_id,) = db.scalars(select(Job.id))
    after = reread(database, schedule.id)
    assert after.last_job_id == job_id
    assert after.next_run_at is not None
    assert after.next_run_at > datetime.now(UTC)
