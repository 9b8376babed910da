"""A launched program dies with its parent, and can run as another user."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from service.embedded.children import launch_command

NOBODY = 65534
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
PARENT = """
import subprocess, sys, time
from service.embedded.children import launch_command
import signal
command = launch_command([sys.executable, "-c", "import time; time.sleep(60)"],
                         death_signal=signal.SIGKILL, user={user})
print(subprocess.Popen(command).pid, flush=True)
time.sleep(60)
"""


def _ends(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("user", [None, (NOBODY, NOBODY)])
def test_dies_when_its_parent_is_killed(user: tuple[int, int] | None) -> None:
    if user is not None and os.geteuid() != 0:
        user = (os.getuid(), os.getgid())  # only root can become another
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(user=user if os.geteuid() == 0 else None)],
        stdout=subprocess.PIPE,
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    assert _ends(child, 5)


def test_refuses_to_start_for_a_parent_that_is_gone() -> None:
    command = launch_command(SLEEP, death_signal=signal.SIGKILL)
    position = command.index(str(os.getpid()))
    command[position] = "1"
    assert subprocess.run(command, timeout=10, check=False).returncode == 1


def test_root_becomes_another_user_and_still_passes_closed_folders(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        command = launch_command(["/usr/bin/id", "-u"], death_signal=signal.SIGKILL)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert int(done.stdout) == os.geteuid()
        return
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    inside = closed / "open"
    inside.mkdir()
    os.chown(inside, NOBODY, NOBODY)
    code = (
        "import os, pathlib, sys\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "assert os.access(folder, os.X_OK)\n"  # as PostgreSQL looks for its programs
        "(folder / 'made').touch()\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(os.getuid(), *(l.split()[1] for l in status.splitlines() if l.startswith('Cap')))\n"
    )
    command = launch_command(
        [sys.executable, "-c", code, str(inside)],
        death_signal=signal.SIGKILL,
        user=(NOBODY, NOBODY),
    )
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    user, inherited, permitted, effective, _bounding, ambient = done.stdout.split()
    assert int(user) == NOBODY
    assert {int(each, 16) for each in (inherited, permitted, effective, ambient)} == {1 << 1}
    assert (inside / "made").stat().st_uid == NOBODY
    assert closed.stat().st_mode & 0o777 == 0o700
