"""Child processes that do not outlive us: started, watched, stopped, cleared away if left over."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from service.log_files import previous, read_end

LAUNCHER = Path(__file__).with_name("launch.py")
TAIL_LINES = 12


class StartError(Exception):
    """Something cannot start; the message is one sentence for the person at the terminal."""


def launch_command(
    argv: Sequence[str], *, death_signal: signal.Signals, user: tuple[int, int] | None = None
) -> list[str]:
    """The command that runs `argv` so that it gets `death_signal` when this process dies."""
    as_user = "-" if user is None else f"{user[0]}:{user[1]}"
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER)]
    return [*launcher, str(int(death_signal)), str(os.getpid()), as_user, "--", *argv]


def rotate(log_path: Path) -> None:
    """Keeps the log of the previous start beside the new one."""
    if log_path.exists():
        log_path.replace(previous(log_path))


def tail(log_path: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log, for a person who has to find out why a program ended."""
    try:
        text, _ = read_end(log_path, 8192)
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


class Child:
    """One program in a session of its own, so that Ctrl-C reaches us alone and we stop in order.

    It must be started from the main thread: the kernel sends the death signal when the *thread*
    that started a process ends.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log_path: Path,
        pid_path: Path,
        environment: Mapping[str, str] | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
        stop_signal: signal.Signals = signal.SIGTERM,
        user: tuple[int, int] | None = None,
        folder: Path | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log_path = log_path
        self.stop_signal = stop_signal
        self._command = launch_command(argv, death_signal=death_signal, user=user)
        self._pid_path = pid_path
        self._environment = dict(environment) if environment is not None else None
        self._folder = folder
        self._pass_fds = pass_fds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self._folder,
                start_new_session=True,
                pass_fds=self._pass_fds,
            )
        created = psutil.Process(self._process.pid).create_time()
        self._pid_path.write_text(json.dumps({"pid": self._process.pid, "created": created}))

    def exit_code(self) -> int | None:
        """None while it runs (and before its start)."""
        return self._process.poll() if self._process else None

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def failure(self) -> str:
        """Why it ended, as far as its log tells."""
        last = tail(self.log_path)
        code = self.exit_code()
        ending = (
            f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
        )
        return f"{self.name} ended with {ending}; its log {self.log_path} ends with:\n{last}"

    def ask_to_stop(self) -> None:
        if self.running():
            assert self._process is not None
            self._process.send_signal(self.stop_signal)

    def stop(self, timeout_seconds: float) -> bool:
        """Asks it to stop, kills its whole session after the timeout; False when it was killed."""
        if self._process is None:
            return True
        self.ask_to_stop()
        try:
            self._process.wait(timeout_seconds)
            clean = True
        except subprocess.TimeoutExpired:
            clean = False
            os.killpg(self._process.pid, signal.SIGKILL)  # not reaped yet: the number is its own
            self._process.wait()
        self._pid_path.unlink(missing_ok=True)
        return clean

    def end_leftover(self, timeout_seconds: float = 10.0) -> None:
        """Ends the process that an earlier, killed instance started and that has not ended yet."""
        try:
            recorded = json.loads(self._pid_path.read_text())
            process = psutil.Process(recorded["pid"])
            if (
                abs(process.create_time() - recorded["created"]) < 0.05
            ):  # else: the number is reused
                process.send_signal(self.stop_signal)
                process.wait(timeout_seconds)
        except (FileNotFoundError, ValueError, KeyError, TypeError, psutil.NoSuchProcess):
            pass
        except psutil.TimeoutExpired:
            raise StartError(
                f"{self.name} of an earlier start still runs as process {process.pid} and does not"
                " stop; end it and try again."
            ) from None
        self._pid_path.unlink(missing_ok=True)
