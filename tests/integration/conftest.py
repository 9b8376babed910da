from collections.abc import Iterator
from pathlib import Path

import pytest

from service.db.engine import Database
from service.settings import Settings
from tests.integration.machine import Machine


@pytest.fixture
def quick_settings(settings: Settings) -> Settings:
    """The times of the machine, all much shorter than in production."""
    return settings.model_copy(
        update={
            "lease_seconds": 2.0,
            "heartbeat_seconds": 0.5,
            "reaper_interval_seconds": 0.3,
            "worker_poll_seconds": 1.0,
            "cancel_poll_seconds": 0.2,
            "checkpoint_interval_seconds": 0.2,
            "drain_seconds": 5.0,
            "trainer_threads": 1,
            "device": "cpu",
        }
    )


@pytest.fixture
def machine(quick_settings: Settings, database: Database, tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(quick_settings, database, tmp_path)
    yield machine
    machine.close()
