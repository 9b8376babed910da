from collections.abc import Iterator

import pytest
from sqlalchemy.orm import Session

from service.db.engine import Database
from service.db.tables import Dataset
from tests.job_records import make_dataset, make_workspace


@pytest.fixture
def db(database: Database) -> Iterator[Session]:
    """One transaction around a whole test, where the test needs no other connection."""
    with database.transaction() as db:
        yield db


@pytest.fixture
def dataset(db: Session) -> Dataset:
    return make_dataset(db, make_workspace(db).id)
