"""The embedded servers: data outlive every kind of end, and damage is named."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from service.embedded.children import StartError
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.redis import EmbeddedRedis


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """Not started; pytest's folders are short and closed to others, which is what it must bear."""
    server = EmbeddedPostgres(tmp_path, tmp_path, durable=False)
    yield server
    server.stop()


def _connect(server: EmbeddedPostgres) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(server.url().replace("+psycopg", ""), autocommit=True)


def test_data_outlive_a_kill_of_the_server(server: EmbeddedPostgres) -> None:
    server.start()
    server.wait_ready()
    with _connect(server) as connection:
        connection.execute("SET synchronous_commit = on")
        connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
    server.child.stop_signal = signal.SIGKILL
    server.stop()
    assert (server.data / "postmaster.pid").exists()  # left behind, with the socket and its lock

    server.child.stop_signal = signal.SIGINT
    server.start()
    server.wait_ready()
    with _connect(server) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (1,)


def test_the_lock_of_a_killed_server_is_told_from_a_running_one(server: EmbeddedPostgres) -> None:
    """The lock used to be removed whatever it said, and a second server could join the first."""
    server.start()
    server.wait_ready()
    server.child._pid_path.unlink()  # how a start would fail to know the first server
    second = EmbeddedPostgres(server.data.parent, server.data.parent, durable=False)
    with pytest.raises(StartError, match="still runs"):
        second.start()
    server.child.stop_signal = signal.SIGKILL
    server.stop()
    lock = server.data / "postmaster.pid"
    _, rest = lock.read_text().split("\n", 1)
    lock.write_text(f"{os.getpid()}\n{rest}")  # another program has the number now
    second.start()
    second.wait_ready()
    second.stop()


def test_nothing_listens_on_tcp_and_the_socket_needs_the_password(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    server.start()
    server.wait_ready()
    with _connect(server) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert connection.execute("SHOW fsync").fetchone() == ("off",)
        assert connection.execute("SELECT current_setting('is_superuser')").fetchone() == ("off",)
    for user in ("reprise", "postgres"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(host=str(tmp_path), user=user, password="wrong", dbname="reprise")


def test_a_lost_password_is_named(server: EmbeddedPostgres, tmp_path: Path) -> None:
    server.start()
    server.wait_ready()
    server.stop()
    (tmp_path / "secrets" / "postgres").write_text("another")
    server.start()
    with pytest.raises(StartError, match=r"secrets/postgres is not that of the database"):
        server.wait_ready()


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        ("global/pg_control", "global/pg_control is missing"),
        ("PG_VERSION", "PG_VERSION is missing"),
        ("17", "is of PostgreSQL 17, not 18"),
    ],
)
def test_damage_is_named(server: EmbeddedPostgres, damaged: str, message: str) -> None:
    for name in ("PG_VERSION", "global/pg_control", "base", "pg_wal", "postgresql.conf"):
        place = server.data / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    (server.data / "PG_VERSION").write_text("17" if damaged == "17" else "18")
    (server.data / damaged).unlink(missing_ok=True)
    with pytest.raises(StartError, match=message):
        server.start()


def test_redis_keeps_its_data_on_a_private_socket(tmp_path: Path) -> None:
    folder = tmp_path / 'a "folder" with spaces'
    folder.mkdir()
    server = EmbeddedRedis(folder, tmp_path)
    for start in range(2):
        server.start()
        server.wait_ready()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("starts") == (str(start).encode() if start else None)
            assert client.incr("starts") == start + 1
            assert client.config_get("appendonly") == {"appendonly": "yes"}
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("port") == {"port": "0"}
        assert (tmp_path / "redis.sock").stat().st_mode & 0o777 == 0o700
        server.stop()
