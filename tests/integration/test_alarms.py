"""The alarm that matters most, with its real cause: workers that live and take nothing."""

import socket
from uuid import UUID

import pytest
from pydantic import SecretStr

from service.alarms.kinds import AlarmKind
from service.alarms.machine import machine_alarms
from service.db.engine import Database
from tests.integration.machine import Machine, wait_for

IDLE = AlarmKind.JOBS_WAIT_WHILE_SLOTS_IDLE


@pytest.fixture
def deaf(machine: Machine) -> Machine:
    """Its workers do not look by themselves."""
    machine.settings = machine.settings.model_copy(
        update={"worker_poll_seconds": 600.0, "alarm_after_seconds": 1.0}
    )
    return machine


def test_jobs_that_wait_while_slots_idle_are_an_alarm_until_somebody_takes_them(
    deaf: Machine, database: Database
) -> None:
    jobs: list[UUID] = []

    def kinds() -> list[AlarmKind]:
        # The worker looks once when it starts; what it found then is no job that waits.
        if all(deaf.job(job_id).state != "queued" for job_id in jobs):
            jobs.append(deaf.submit())
        with database.transaction() as db:
            return [alarm.kind for alarm in machine_alarms(db, deaf.settings)]

    hearing = deaf.settings
    with socket.create_server(("127.0.0.1", 0)) as silent_redis:
        # Connections are taken and never answered: no wake-up arrives, however many are sent.
        url = f"redis://127.0.0.1:{silent_redis.getsockname()[1]}/0"
        deaf.settings = hearing.model_copy(update={"redis_url": SecretStr(url)})
        deaf.start_worker()
        deaf.wait_warm(1)
        with deaf.reaper():
            wait_for(lambda: kinds() == [IDLE], "the alarm", 30)
            deaf.settings = hearing
            deaf.start_worker()
            deaf.wait_state(jobs[-1], "succeeded")
            with database.transaction() as db:
                assert machine_alarms(db, deaf.settings) == []
