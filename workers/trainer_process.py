"""A worker's side of one trainer: start it, talk to it, end it."""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

from workers.messages import REPORTS, Message, Ready, Report, to_line

READ_BYTES = 65_536
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
OWN_PREFIX = "REPRISE_"  # settings and passwords of the service: no concern of a trainer


class TrainerGoneError(Exception):
    """The trainer's end of the pipe is closed: it ended or was killed."""


class TrainerProcess:
    """One child in a session of its own. It dies with the thread that makes this object."""

    def __init__(
        self,
        *,
        science: str,
        kernels: str,
        threads: int,
        gpu: str | None,
        memory_bytes: int | None = None,
    ) -> None:
        commands_read, commands_write = os.pipe()
        reports_read, reports_write = os.pipe()
        command = [
            *(sys.executable, "-m", "workers.trainer", "--science", science),
            *("--commands", str(commands_read), "--reports", str(reports_write)),
            *("--parent", str(os.getpid()), "--kernels", kernels),
        ]
        if memory_bytes is not None:
            command += ["--memory-bytes", str(memory_bytes)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=(commands_read, reports_write),
                env=environment(
                    os.environ, threads=threads, gpu=gpu, keeps_memory=memory_bytes is None
                ),
                start_new_session=True,
            )
        except OSError:
            os.close(commands_write)
            os.close(reports_read)
            raise
        finally:
            os.close(commands_read)
            os.close(reports_write)
        self._commands = commands_write
        self._reports = reports_read
        self._selector = selectors.DefaultSelector()
        self._selector.register(reports_read, selectors.EVENT_READ)
        self._buffer = b""
        self._closed = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self, timeout_seconds: float) -> bool:
        """Whether it said that it is ready, in time. Raises TrainerGoneError where it ended."""
        deadline = time.monotonic() + timeout_seconds
        while (left := deadline - time.monotonic()) > 0:
            if any(isinstance(report, Ready) for report in self.receive(min(left, 0.2))):
                return True
        return False

    def is_running(self) -> bool:
        return self._process.poll() is None

    def send(self, message: Message) -> None:
        """Commands are short beside a pipe's size, but for the first, which is read at once."""
        line = to_line(message)
        try:
            while line:
                line = line[os.write(self._commands, line) :]
        except OSError as error:
            raise TrainerGoneError("the trainer takes no commands any more") from error

    def receive(self, timeout_seconds: float) -> list[Report]:
        """Reports that came; waits for one at most that long. Raises TrainerGoneError at the end.

        The last words of a trainer are handed out before its end is raised.
        """
        if not self._selector.select(timeout_seconds):
            return []
        read = os.read(self._reports, READ_BYTES)
        if not read:
            raise TrainerGoneError("the trainer ended")
        *lines, self._buffer = (self._buffer + read).split(b"\n")
        return [REPORTS.validate_json(line) for line in lines]

    def kill(self) -> None:
        """Ends the trainer and all that it started, at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> str:
        """Ends it if need be and gives its resources back; returns how it had ended."""
        if not self._closed:
            self._closed = True
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.2)  # it may be on its way out
            self.kill()
            self._selector.close()
            os.close(self._commands)
            os.close(self._reports)
        code = self._process.returncode
        if code is not None and code < 0:
            with suppress(ValueError):
                return f"its process was ended by {signal.Signals(-code).name}"
            return f"its process was ended by signal {-code}"
        return f"its process ended with exit code {code}"


def environment(
    own: Mapping[str, str], *, threads: int, gpu: str | None, keeps_memory: bool
) -> dict[str, str]:
    """A trainer's environment: no secret of the service, its share of the cores, its one GPU;
    whether it keeps what it has freed."""
    kept = {name: value for name, value in own.items() if not name.startswith(OWN_PREFIX)}
    kept |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    # Needed by cuBLAS to give the same result twice; read when CUDA starts.
    kept["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    kept["CUDA_VISIBLE_DEVICES"] = gpu or ""
    # Threads that wait by spinning take the core from the one they wait for, wherever something
    # else runs too: docs/decisions/0005-waiting-threads.md.
    kept.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # glibc gives large blocks back to the system at once, and each step would have every page of
    # its arrays made anew: docs/decisions/0024-trainers-keep-memory.md.
    if keeps_memory:
        for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
            kept.setdefault(name, str(1 << 30))
    return kept
