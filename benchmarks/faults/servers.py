"""Servers of our own in a folder that is thrown away."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from service.db.engine import Database, make_engine
from service.db.migrate import migrate
from service.embedded.postgres import EmbeddedPostgres
from service.settings import Settings


@contextmanager
def own_database() -> Iterator[Settings]:
    """Settings of a migrated, empty database that keeps its data as one in production does.

    There is no Redis behind them.
    """
    with tempfile.TemporaryDirectory(prefix="reprise-faults-", dir="/tmp") as name:
        folder = Path(name)
        server = EmbeddedPostgres(folder, folder)
        server.start()
        try:
            server.wait_ready()
            settings = Settings(
                database_url=SecretStr(server.url()),
                redis_url=SecretStr("unix:///nowhere.sock"),
                artifact_dir=folder,
            )
            database = Database(make_engine(settings))
            migrate(database.engine)
            database.close()
            yield settings
        finally:
            server.stop()
