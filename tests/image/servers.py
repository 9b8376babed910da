"""PostgreSQL and Redis for the containers: from wheels, with compose's arguments and passwords."""

import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from service.embedded import postgres, redis
from service.embedded.children import launch_command
from tests.image.containers import COMPOSE

POSTGRES = COMPOSE["postgres"]["environment"]
REDIS_PROGRAM, *REDIS_ARGUMENTS = COMPOSE["redis"]["command"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def servers(folder: Path) -> Iterator[Mapping[str, int]]:
    """Runs both with the secrets in `folder`; yields the port of each."""
    ports = {"postgres": free_port(), "redis": free_port()}
    secrets = folder / "secrets"
    programs = postgres.programs()
    for name in ports:
        (folder / name).mkdir(mode=0o700)
        os.chown(folder / name, *_nobody())
    data = folder / "postgres" / "data"
    password_file = Path(POSTGRES["POSTGRES_PASSWORD_FILE"].replace("/run/secrets", str(secrets)))
    initdb = [
        *(str(programs / "initdb"), "--pgdata", str(data), "--auth=scram-sha-256"),
        *(f"--username={POSTGRES['POSTGRES_USER']}", f"--pwfile={password_file}"),
        *POSTGRES["POSTGRES_INITDB_ARGS"].split(),
    ]
    assert _start(initdb, folder, "postgres").wait(60) == 0, _log(folder, "postgres")
    assert REDIS_PROGRAM == "redis-server"
    commands = {
        "postgres": [
            *(str(programs / "postgres"), "-D", str(data), "-p", str(ports["postgres"])),
            *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
        ],
        "redis": [
            str(redis.program()),
            *(argument.replace("/run/secrets", str(secrets)) for argument in REDIS_ARGUMENTS),
            *("--bind", "127.0.0.1", "--port", str(ports["redis"])),
        ],
    }
    running = []
    try:
        for name, command in commands.items():
            running.append(_start(command, folder, name))
        path = f"{programs}:{redis.program().parent}:{os.environ['PATH']}"
        for name, port in ports.items():
            _wait_healthy(name, port, secrets, path)
        with psycopg.connect(
            host="127.0.0.1",
            port=ports["postgres"],
            user=POSTGRES["POSTGRES_USER"],
            password=password_file.read_text().strip(),
            dbname="postgres",
            autocommit=True,
        ) as connection:
            connection.execute(f"CREATE DATABASE {POSTGRES['POSTGRES_DB']}".encode())
        yield ports
    finally:
        for process in reversed(running):
            process.send_signal(signal.SIGINT)  # PostgreSQL: without waiting for clients
            process.wait(20)


def _nobody() -> tuple[int, int]:
    """PostgreSQL refuses to run as root."""
    user = pwd.getpwnam("nobody")
    return user.pw_uid, user.pw_gid


def _start(command: Sequence[str], folder: Path, name: str) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            launch_command(command, death_signal=signal.SIGKILL, user=_nobody()),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder / name,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )


def _log(folder: Path, name: str) -> str:
    return (folder / f"{name}.log").read_text()[-3000:]


def _wait_healthy(service: str, port: int, secrets: Path, path: str) -> None:
    """Until compose's health check of `service` passes, with the port and folder of here."""
    kind, *words = COMPOSE[service]["healthcheck"]["test"]
    command = words if kind == "CMD" else ["sh", "-c", words[0].replace("$$", "$")]
    command = [
        word.replace("/run/secrets", str(secrets)).replace("redis-cli", f"redis-cli -p {port}")
        for word in command
    ]
    environment = {"PATH": path, "PGPORT": str(port)}
    deadline = time.monotonic() + 30
    while subprocess.run(command, env=environment, capture_output=True).returncode != 0:
        assert time.monotonic() < deadline, f"{service} is not healthy: {command}"
        time.sleep(0.2)
