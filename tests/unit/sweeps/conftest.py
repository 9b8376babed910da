import pytest

from service.db.engine import Database
from service.settings import Settings
from tests.sweep_records import Bench


@pytest.fixture
def bench(settings: Settings, database: Database) -> Bench:
    return Bench(settings, database)
