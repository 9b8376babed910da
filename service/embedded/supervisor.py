"""`reprise up`: every process of a small installation, started, watched and stopped as one."""

import contextlib
import ctypes
import http.client
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from pydantic import SecretStr, ValidationError

from service.embedded.children import Child, StartError, rotate
from service.embedded.folders import private_folder
from service.embedded.instance import Instance
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.redis import EmbeddedRedis
from service.log_files import keep_end
from service.settings import Settings, describe

READY_TIMEOUT_SECONDS = 120.0
ANSWER_SECONDS = 5.0  # our socket takes a question also where no API is left to answer it
WATCH_INTERVAL_SECONDS = 0.2
LOGS_INTERVAL_SECONDS = 1.0
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
STEADY_SECONDS = 60.0  # after so long without an end, the next one waits the shortest time again
PR_SET_PDEATHSIG = 1

SOURCE = str(Path(__file__).resolve().parents[2])

Say = Callable[[str], None]


class StopRequested(BaseException):
    """Raised by the signals that end us, wherever the main thread is."""


@dataclass
class Part:
    """A child that is started again when it ends, later each time it ends soon."""

    child: Child
    start: Callable[[], None]
    stop_seconds: float
    hurried_stop_seconds: float = 0.0
    started_at: float = field(default_factory=time.monotonic)
    backoff_seconds: float = FIRST_BACKOFF_SECONDS
    start_again_at: float | None = None


def up(
    folder: Path,
    *,
    host: str,
    port: int,
    slots: int,
    say: Say,
    parent: int | None = None,
) -> None:
    """Runs until SIGINT, SIGTERM or SIGHUP; `StartError` when it cannot start.

    With `parent`, the number of the process that started it, it also ends when that one dies,
    however it dies.
    """
    with _signals_stop():
        instance = supervisor = None
        try:
            if parent is not None:
                _stop_with(parent)
            _refuse_servers_of_others()
            instance = Instance(folder, host, port)
            supervisor = Supervisor(instance, host=host, slots=slots, say=say)
            supervisor.start()
            say(f"Reprise is ready at {instance.address} (Ctrl-C stops it).")
            supervisor.watch()
        except StopRequested:
            say("Stopping.")
        except ValidationError as error:
            raise StartError(describe(error)) from error
        except OSError as error:
            raise StartError(f"Reprise cannot run on the folder {folder}: {error}.") from error
        finally:
            if supervisor is not None:
                supervisor.stop()
            if instance is not None:
                instance.close()


class Supervisor:
    """Starts the servers, then our own processes, and stops them in reverse."""

    def __init__(self, instance: Instance, *, host: str, slots: int, say: Say) -> None:
        self._instance = instance
        self._say = say
        folder = instance.folder
        for name in ("logs", "run", "artifacts"):
            private_folder(folder / name)
        self._logs, self._run = folder / "logs", folder / "run"
        self._logs_at = 0.0
        for log in self._logs.glob("*.log"):
            rotate(log)
        self._postgres = EmbeddedPostgres(folder, instance.runtime)
        self._redis = EmbeddedRedis(folder, instance.runtime)
        self._settings = Settings(
            database_url=SecretStr(self._postgres.url()),
            redis_url=SecretStr(self._redis.url),
            artifact_dir=folder / "artifacts",
        )
        self._environment = os.environ | {
            "REPRISE_DATABASE_URL": self._postgres.url(),
            "REPRISE_REDIS_URL": self._redis.url,
            "REPRISE_ARTIFACT_DIR": str(folder / "artifacts"),
            "REPRISE_HOST": host,
            "REPRISE_PORT": str(instance.port),
            "REPRISE_WORKER_SLOTS": str(slots),
            "PYTHONUNBUFFERED": "1",
            # The children run this very code, wherever an editable install points since a move.
            "PYTHONPATH": os.pathsep.join(filter(None, (SOURCE, os.environ.get("PYTHONPATH")))),
        }
        # The API imports its libraries while the servers start, and goes on when the gate opens.
        self._gate, self._gate_key = os.pipe()
        listening = instance.listening.fileno()
        serve = ("--socket", str(listening), "--after", str(self._gate))
        api = self._python("api", "service.serve", *serve, pass_fds=(listening, self._gate))
        worker = self._python("worker", "workers.app")
        reaper = self._python("reaper", "workers.reaper")
        drain = self._settings.drain_seconds + 12  # the checkpoint, and then the last words
        self._api = Part(api, api.start, 10)
        self._trainers = (Part(worker, worker.start, drain), Part(reaper, reaper.start, 10))
        self._servers = (
            Part(self._redis.child, self._redis.start, 10, 5),
            Part(self._postgres.child, self._postgres.start, 30, 10),
        )
        self._parts = (self._api, *self._trainers, *self._servers)  # in the order of stopping

    def start(self) -> None:
        """Everything up to an answering API; a part that fails is a `StartError`."""
        for part in (self._api, *self._trainers):
            part.child.end_leftover()
        self._api.start()
        self._redis.start()
        self._postgres.start()
        # Imported here: SQLAlchemy and Alembic take as long as the servers that are starting now.
        from service.embedded.first_run import prepare_database

        self._postgres.wait_ready()
        key = prepare_database(self._settings)
        if key is not None:
            self._say(f"Admin key, shown only this once: {key}")
        self._redis.wait_ready()
        self._open_gate()
        self._wait_until_ready()
        for part in self._trainers:
            part.start()

    def watch(self) -> None:
        """Starts again whatever ends, for ever."""
        while True:
            now = time.monotonic()
            if now >= self._logs_at:
                self._logs_at = now + LOGS_INTERVAL_SECONDS
                for log in self._logs.glob("*.log"):
                    keep_end(log, self._settings.max_log_bytes)
            for part in self._parts:
                if part.child.running():
                    continue
                if part.start_again_at is None:
                    if now - part.started_at > STEADY_SECONDS:
                        part.backoff_seconds = FIRST_BACKOFF_SECONDS
                    self._report(
                        f"{part.child.failure()}\nIt is started again in"
                        f" {part.backoff_seconds:g} s."
                    )
                    part.start_again_at = now + part.backoff_seconds
                    part.backoff_seconds = min(2 * part.backoff_seconds, LONGEST_BACKOFF_SECONDS)
                elif now >= part.start_again_at:
                    part.start_again_at = None
                    part.started_at = now
                    try:
                        part.start()
                    except (StartError, OSError) as error:
                        self._report(f"{part.child.name} cannot start: {error}")
            time.sleep(WATCH_INTERVAL_SECONDS)

    def stop(self) -> None:
        """Stops what runs, each part within its time; a second signal shortens the times."""
        self._instance.listening.close()
        hurry = False
        for part in self._parts:
            try:
                clean = part.child.stop(part.hurried_stop_seconds if hurry else part.stop_seconds)
            except StopRequested:
                hurry = True
                clean = part.child.stop(part.hurried_stop_seconds)
            if not clean:
                self._report(f"{part.child.name} did not stop in time and was killed.")
        self._open_gate()
        os.close(self._gate)
        shutil.rmtree(self._instance.runtime, ignore_errors=True)

    def _python(
        self, name: str, module: str, *arguments: str, pass_fds: tuple[int, ...] = ()
    ) -> Child:
        # -P: a folder named like one of our packages where we were started is not imported.
        return Child(
            f"The {name}",
            [sys.executable, "-P", "-m", module, *arguments],
            log_path=self._logs / f"{name}.log",
            pid_path=self._run / f"{name}.pid",
            environment=self._environment,
            death_signal=signal.SIGKILL,
            stop_signal=signal.SIGTERM,
            pass_fds=pass_fds,
        )

    def _open_gate(self) -> None:
        if self._gate_key >= 0:
            os.close(self._gate_key)
            self._gate_key = -1

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        answer = "nothing"
        while time.monotonic() < deadline:
            if not self._api.child.running():
                raise StartError(self._api.child.failure())
            answer = _ask(self._instance, self._settings.allowed_hosts[0])
            if answer == "200":
                return
            time.sleep(0.05)  # each question costs the API time that it needs to start
        raise StartError(
            f"The API is not ready after {READY_TIMEOUT_SECONDS:g} s, /ready answers {answer};"
            f" see {self._api.child.log_path}."
        )

    def _report(self, event: str) -> None:
        # A full disk ends what needs the disk, not the watch over the rest.
        with contextlib.suppress(OSError), (self._logs / "reprise.log").open("a") as log:
            log.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {event}\n")
        self._say(event)


def _ask(instance: Instance, host: str) -> str:
    """The status that /ready answers, or why there is no answer."""
    address = instance.address.removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/ready", headers={"Host": "localhost" if host == "*" else host})
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    finally:
        connection.close()


def _refuse_servers_of_others() -> None:
    """Says that they would not be used, rather than keep data where nobody looks for them."""
    for name in ("REPRISE_DATABASE_URL", "REPRISE_REDIS_URL"):
        if name in os.environ:
            raise StartError(
                f"{name} is set, but `reprise up` starts servers of its own: unset it, or start"
                " `reprise migrate`, `api`, `worker` and `reaper` one by one."
            )


@contextlib.contextmanager
def _signals_stop() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise StopRequested

    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
            continue  # nohup: meant to outlive its terminal
        before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:
            raise StopRequested  # it died before the line above
