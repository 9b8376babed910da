"""The service as it runs in production, every part a process of its own that may be broken."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from pydantic import SecretStr

from benchmarks.faults.proxy import Door
from benchmarks.faults.scripted import OUTPUT
from benchmarks.faults.witness import Witness
from service.embedded.children import Child, StartError
from service.embedded.first_run import prepare_database
from service.embedded.folders import private_folder
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.redis import EmbeddedRedis
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 30.0
ARTIFACT_BYTES = 96 * 2**20
SLEEP = Path(__file__).with_name("sleep.c")
FAKETIME = "*/faketime/libfaketimeMT.so.1"  # of the Debian package libfaketime, below /usr/lib


class Place:
    """One part of the service: the process that is there now, after those that were killed.

    Processes are started, stopped and killed by the main thread alone.
    """

    def __init__(
        self,
        plant: "Plant",
        name: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        pass_fds: Sequence[int] = (),
        clock: Path | None = None,
    ) -> None:
        self.name = name
        self.clock = clock
        self.broken = False  # a fault has it: no other one may
        self._plant = plant
        self._arguments = arguments
        self._environment = dict(environment)
        self._pass_fds = pass_fds
        self._generation = 0
        self._child: Child | None = None
        self.door = Door(plant.redis_socket, self._waits)

    @property
    def process(self) -> str:
        """The name of the process that is there now, as its database connections tell it."""
        return f"{self.name}.{self._generation}"

    @property
    def pid(self) -> int:
        assert self._child is not None
        assert self._child.pid is not None
        return self._child.pid

    def start(self) -> None:
        self._generation += 1
        folder = self._plant.folder
        self._child = Child(
            self.process,
            [sys.executable, "-P", "-m", *self._arguments],
            log_path=folder / "logs" / f"{self.name}.log",
            pid_path=folder / "run" / f"{self.name}.pid",
            environment={
                **self._environment,
                "REPRISE_REDIS_URL": self.door.url,
                "PGAPPNAME": self.process,
                **(self._plant.shown_time(self.clock) if self.clock else {}),
            },
            pass_fds=self._pass_fds,
        )
        self._child.start()
        self._plant.witness.note("up", by=self.process, pid=self.pid)

    def kill(self) -> None:
        self._plant.witness.note("down", by=self.process, pid=self.pid)
        os.kill(self.pid, signal.SIGKILL)
        self._stopped()

    def drain(self) -> None:
        """Asks it to stop; `ended` follows."""
        os.kill(self.pid, signal.SIGTERM)

    def has_ended(self) -> bool:
        return self._child is None or not self._child.running()

    def ended(self) -> None:
        """After a drain."""
        self._stopped()
        self._plant.witness.note("down", by=self.process, pid=self.pid)

    def stop(self) -> None:
        if not self.has_ended():
            self._stopped()
        self.door.close()

    def _stopped(self) -> None:
        assert self._child is not None
        self._child.stop(STOP_SECONDS)

    def trainers(self, *, busy: bool = False) -> list[psutil.Process]:
        """Of a worker; `busy`: those that have a job."""
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid).children():
                with contextlib.suppress(psutil.NoSuchProcess, OSError):
                    if "workers.trainer" not in child.cmdline():
                        continue
                    output = Path(f"/proc/{child.pid}/fd/1").readlink()
                    if not busy or OUTPUT.search(str(output)):
                        found.append(child)
        return found

    def _waits(self) -> None:
        self._plant.witness.note("consuming", by=self.process)


class Plant:
    """PostgreSQL, Redis, an API, workers and a reaper in a folder of their own.

    Attributes:
        key: an admin key of the one workspace.
        disk: the folder of the artifacts where it is a small file system of its own, else None.
    """

    def __init__(
        self, folder: Path, witness: Witness, settings: Mapping[str, object], *, workers: int
    ) -> None:
        self.folder, self.witness = folder, witness
        for name in ("logs", "run", "artifacts", "notes"):
            private_folder(folder / name)
        self.notes = folder / "notes"
        self.disk = _mounted(folder / "artifacts")
        self._preload = _preloaded(folder / "run")
        self.postgres = EmbeddedPostgres(folder, folder)
        self.redis = EmbeddedRedis(folder, folder)
        self.redis_socket = folder / "redis.sock"
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.settings = Settings(
            database_url=SecretStr(self.postgres.url()),
            redis_url=SecretStr(self.redis.url),
            artifact_dir=folder / "artifacts",
            **settings,  # type: ignore[arg-type]
        )
        environment = self._environment(settings)
        listening = self._listening.fileno()
        self.api = Place(
            self,
            "api",
            ["service.serve", "--socket", str(listening)],
            environment=environment,
            pass_fds=(listening,),
        )
        self.reaper = Place(
            self, "reaper", ["workers.reaper"], environment=environment, clock=self._clock("reaper")
        )
        self.workers = [
            Place(
                self,
                f"worker-{number}",
                ["benchmarks.faults.worker"],
                environment=environment,
                clock=self._clock("worker-1") if number == 1 else None,
            )
            for number in range(1, workers + 1)
        ]
        self.key = ""

    @property
    def places(self) -> list[Place]:
        return [self.api, self.reaper, *self.workers]

    def start(self) -> None:
        """The servers, with an empty database that is ready for use."""
        self.redis.start()
        self.postgres.start()
        self.postgres.wait_ready()
        self.redis.wait_ready()
        self.key = prepare_database(self.settings) or ""

    def start_places(self) -> None:
        for place in self.places:
            place.start()

    def start_postgres(self) -> bool:
        """Starts it again; backends of the one that was killed may take a moment to go."""
        with contextlib.suppress(StartError):
            self.postgres.start()
            self.postgres.wait_ready()
            return True
        return False

    def start_redis(self) -> bool:
        with contextlib.suppress(StartError):
            self.redis.start()
            self.redis.wait_ready()
            return True
        return False

    def stop(self) -> None:
        for place in reversed(self.places):
            place.stop()
        self.redis.stop()
        self.postgres.stop()
        self._listening.close()
        if self.disk is not None:
            subprocess.run(["umount", "--lazy", self.disk], check=True)

    def _environment(self, settings: Mapping[str, object]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if "REPRISE_" not in name}
        own = {f"REPRISE_{name.upper()}": str(value) for name, value in settings.items()}
        return {
            **kept,
            **own,
            "REPRISE_DATABASE_URL": self.postgres.url(),
            "REPRISE_ARTIFACT_DIR": str(self.folder / "artifacts"),
            "FAULTS_NOTES": str(self.notes),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }

    @property
    def clocks(self) -> bool:
        """Whether processes can be shown another time than the machine's."""
        return self._preload is not None

    def shown_time(self, clock: Path) -> dict[str, str]:
        """What shows a process the time that the file says, read each second.

        The time since its start is not touched, as when a machine's clock is put right.
        """
        assert self._preload is not None
        return {
            "LD_PRELOAD": self._preload,
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def _clock(self, name: str) -> Path | None:
        if not self.clocks:
            return None
        path = self.folder / "run" / f"{name}.clock"
        path.write_text("+0")
        return path


def _preloaded(folder: Path) -> str | None:
    """What a process preloads to be shown another time; None where there is no libfaketime, or no
    compiler for what it needs beside it."""
    faketime = next(Path("/usr/lib").glob(FAKETIME), None)
    compiler = shutil.which("cc")
    if faketime is None or compiler is None:
        return None
    library = folder / "sleep.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SLEEP)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        return None
    return f"{library} {faketime}"


def _mounted(folder: Path) -> Path | None:
    """The folder as a small file system in memory; None where we may not make one."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return None
    options = ["-t", "tmpfs", "-o", f"size={ARTIFACT_BYTES},mode=0700", "reprise-faults"]
    mounted = subprocess.run(["mount", *options, folder], check=False, capture_output=True)
    return folder if mounted.returncode == 0 else None
