"""`reprise up` as a process of its own, watched from outside."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil

UP = (sys.executable, "-m", "service.cli", "up")
ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0


class Running:
    """One started instance: where it answers, what it printed, and the processes it consists of."""

    def __init__(
        self,
        data: Path,
        *options: str,
        prefix: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self.data = data
        command = [*prefix, *UP, "--data", str(data), "--port", "0", *options]
        self.process = start(command, environment)
        self.lines: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if "is ready at" in line:
                break
        else:
            self.close()
            raise AssertionError("it ended:\n" + "\n".join(self.lines))
        match = re.search(r"http://\S+", self.lines[-1])
        assert match is not None
        self.url = match.group()
        keys = re.findall(r"rp_\w+", "\n".join(self.lines))
        self.key: str | None = keys[0] if keys else None

    def descendants(self) -> list[psutil.Process]:
        """Every process below it: servers, API, worker, reaper, trainers."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def find(self, part: str) -> psutil.Process:
        """The process of a part, by the end of its command, once it runs."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for process in self.descendants():
                try:
                    if part in " ".join(process.cmdline()):
                        return process
                except psutil.Error:
                    continue
            time.sleep(0.05)
        raise AssertionError(f"no process of {part}")

    def get(self, path: str, key: str) -> httpx.Response:
        return httpx.get(self.url + path, headers={"Authorization": f"Bearer {key}"}, timeout=30)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends the signal and returns the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.close()
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def start(
    command: Sequence[str], environment: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=clean_environment() | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(command: Sequence[str], environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and output of a command that is meant to end by itself."""
    with start(command, environment) as process:
        output, _ = process.communicate(timeout=120)
    return process.returncode, output


def clean_environment() -> dict[str, str]:
    """Without the settings of whoever runs the tests."""
    return {key: value for key, value in os.environ.items() if not key.startswith("REPRISE_")}


def left_over(processes: Sequence[psutil.Process], seconds: float) -> list[str]:
    """Those that still run after the time."""
    _, alive = psutil.wait_procs(list(processes), timeout=seconds)
    return [f"{p.pid} {p.name()}" for p in alive if p.status() != psutil.STATUS_ZOMBIE]
