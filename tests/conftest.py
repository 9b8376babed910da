"""Real servers for the tests: one PostgreSQL and one Redis a session, one fresh database a test."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis as redis_client
from pydantic import SecretStr
from sqlalchemy import create_engine

from rnn.errors import KernelsError
from rnn.kernels.build import find_compiler
from rnn.kernels.library import load
from service.db.engine import Database, make_engine
from service.db.migrate import migrate
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.redis import EmbeddedRedis
from service.settings import Settings
from tests.browser.chromium import find_chromium
from tests.disks import has_small_disk, in_memory, place

pytest_plugins = ["tests.serving"]


def pytest_configure() -> None:
    """Nothing of a test has to outlive the machine: all of it is written to memory, if it fits and
    nobody chose another place."""
    memory = in_memory()
    if memory is not None and "TMPDIR" not in os.environ:
        tempfile.tempdir = os.environ["TMPDIR"] = str(memory)


def has_gpu() -> bool:
    import torch  # a second that only tests with this marker cost

    return torch.cuda.is_available()


def has_compiler() -> bool:
    return find_compiler() is not None


def cpu_rank() -> int:
    """2 with AVX-512, 1 with AVX2, or 0; whoever has no kernels has no use for either."""
    try:
        return int(load("plain").functions.rk_cpu_level())
    except KernelsError:
        return 0


# Markers of tests that need what not every machine has.
NEEDS: dict[str, Callable[[], bool]] = {
    "gpu": has_gpu,
    "compiler": has_compiler,
    "avx2": lambda: cpu_rank() >= 1,
    "avx512": lambda: cpu_rank() >= 2,
    "browser": lambda: find_chromium() is not None,
    "small_disk": has_small_disk,
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects what cannot run here."""
    for marker, is_there in NEEDS.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        if marked and not is_there():
            config.hook.pytest_deselected(items=marked)
            items[:] = [item for item in items if item not in marked]


TEMPLATE = "reprise_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """A short path: the sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="reprise-tests-", dir=place()))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server(servers_folder: Path) -> Iterator[EmbeddedPostgres]:
    """A running server with the migrated database that every test's own is copied from."""
    server = EmbeddedPostgres(servers_folder, servers_folder, durable=False)
    server.start()
    try:
        server.wait_ready()
        _statement(server, f"CREATE DATABASE {TEMPLATE}")
        engine = create_engine(server.url(TEMPLATE))
        migrate(engine)
        engine.dispose()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def redis_server(servers_folder: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(servers_folder, servers_folder)
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


@pytest.fixture
def database_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """A migrated, empty database of this test's own."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    _statement(postgres_server, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
    yield postgres_server.url(name)
    _statement(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """An empty Redis."""
    with redis_client.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        artifact_dir=artifacts,
    )


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = Database(make_engine(settings))
    yield database
    database.close()


def _statement(server: EmbeddedPostgres, statement: str) -> None:
    url = server.url("postgres").replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)
