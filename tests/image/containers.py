"""The built image's containers, run by buildah with what docker-compose.yml says of a service."""

import json
import os
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
USER = 10001


class Image:
    """The image under test, with folders in place of the volumes."""

    def __init__(self, name: str, buildah: Sequence[str], folder: Path) -> None:
        self._buildah = list(buildah)
        self._name = name
        self._folder = folder
        self.environment: dict[str, str] = {}  # what differs from a network of containers
        inspected = json.loads(self._output("inspect", "--type", "image", name))
        self.config: dict[str, Any] = inspected["Docker"]["config"]
        for volume in ("secrets", "artifacts"):
            (folder / volume).mkdir()
        # As an engine does it: an empty volume takes the owner of the image's folder.
        os.chown(folder / "artifacts", USER, USER)

    def container(self) -> str:
        return self._output("from", "--pull-never", self._name).strip()

    def root(self, container: str) -> Path:
        return Path(self._output("mount", container).strip())

    def command(
        self, container: str, service: str, arguments: Sequence[str] | None = None
    ) -> list[str]:
        """Runs `service` in `container`, with other arguments if they are given."""
        compose = COMPOSE[service]
        line = [*self._buildah, "run", "--isolation", "chroot"]
        if "user" in compose:
            line += ["--user", compose["user"]]
        for volume in compose["volumes"]:
            name, target, *mode = volume.split(":")
            line += ["--volume", ":".join([str(self._folder / name), target, *mode])]
        environment = {
            name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", str(value))
            for name, value in compose.get("environment", {}).items()
        }
        for name, value in (environment | self.environment).items():
            line += ["--env", f"{name}={value}"]
        program = compose.get("entrypoint", self.config["Entrypoint"])
        arguments = compose["command"] if arguments is None else arguments
        return [*line, container, "--", *program, *arguments]

    def run(self, container: str, service: str, arguments: Sequence[str] | None = None) -> str:
        """Runs a one-shot service to its successful end; its output."""
        command = self.command(container, service, arguments)
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{service}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def shell(self, container: str, script: str) -> str:
        return self._output("run", "--isolation", "chroot", container, "--", "sh", "-c", script)

    def healthy(self, container: str) -> bool:
        """The image's own health check, run in the container."""
        test = self.config["Healthcheck"]["Test"]
        assert test[0] == "CMD", test
        command = self.command(container, "api", [])
        command = [*command[: command.index("--") + 1], *test[1:]]
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0

    def _output(self, *arguments: str) -> str:
        return subprocess.run(
            [*self._buildah, *arguments], check=True, capture_output=True, text=True, timeout=300
        ).stdout


class Running:
    """A long-running service; `stop` is what an engine does: SIGTERM to its first process."""

    def __init__(self, image: Image, service: str, folder: Path) -> None:
        self.service = service
        self.container = image.container()
        self.log = folder / f"{service}.log"
        command = image.command(self.container, service)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def processes(self) -> list[psutil.Process]:
        """Those in the container, without buildah's own around them."""
        try:
            below = psutil.Process(self._process.pid).children(recursive=True)
            return [process for process in below if "buildah" not in process.cmdline()[0]]
        except (psutil.NoSuchProcess, IndexError):  # one ended while we looked
            return []

    def alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> float:
        """Seconds from SIGTERM to the end; asserts a clean one with nobody left behind."""
        processes = self.processes()
        numbers = {process.pid for process in processes}
        (first,) = (process for process in processes if process.ppid() not in numbers)
        assert first.uids().real == USER
        begun = time.monotonic()
        first.terminate()
        grace = float(COMPOSE[self.service].get("stop_grace_period", "10s").removesuffix("s"))
        code = self._process.wait(timeout=grace)
        seconds = time.monotonic() - begun
        _, left = psutil.wait_procs(processes, timeout=1)
        assert code == 0, f"{self.service} ended with {code} after SIGTERM"
        assert not left, f"{self.service} left {left} behind"
        return seconds

    def kill(self) -> None:
        for process in self.processes():
            process.kill()
        self._process.kill()
        self._process.wait()
