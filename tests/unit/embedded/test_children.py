"""Child processes are stopped, killed when they do not listen, and found again after a crash."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from service.embedded.children import Child, rotate, tail

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""


def _child(folder: Path, code: str) -> Child:
    return Child(
        "The program",
        [sys.executable, "-c", code],
        log_path=folder / "program.log",
        pid_path=folder / "program.pid",
    )


def _wait_for_log(child: Child) -> None:
    deadline = time.monotonic() + 10
    while not tail(child.log_path):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_stop_ends_a_program_that_listens(tmp_path: Path) -> None:
    child = _child(tmp_path, "import time; print('up', flush=True); time.sleep(60)")
    child.start()
    _wait_for_log(child)
    assert child.stop(10)
    assert child.exit_code() == -signal.SIGTERM
    assert not (tmp_path / "program.pid").exists()


def test_stop_kills_a_program_that_does_not(tmp_path: Path) -> None:
    child = _child(tmp_path, STUBBORN)
    child.start()
    _wait_for_log(child)
    started = time.monotonic()
    assert not child.stop(0.2)
    assert time.monotonic() - started < 5
    assert child.exit_code() == -signal.SIGKILL


def test_a_failure_names_the_exit_code_and_the_end_of_the_log(tmp_path: Path) -> None:
    child = _child(tmp_path, "import sys; print('no such thing'); sys.exit(7)")
    child.start()
    while child.running():
        time.sleep(0.01)
    assert "exit code 7" in child.failure()
    assert "no such thing" in child.failure()


def test_ends_what_an_earlier_instance_left(tmp_path: Path) -> None:
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with left:
        created = psutil.Process(left.pid).create_time()
        (tmp_path / "program.pid").write_text(json.dumps({"pid": left.pid, "created": created}))
        _child(tmp_path, "").end_leftover()
        assert not psutil.pid_exists(left.pid)
    assert not (tmp_path / "program.pid").exists()


def test_leaves_another_program_with_a_reused_number_alone(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with other:
        created = psutil.Process(other.pid).create_time() - 100
        (tmp_path / "program.pid").write_text(json.dumps({"pid": other.pid, "created": created}))
        _child(tmp_path, "").end_leftover()
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("content", ["", "12", "{}", "not json", '{"pid": "x", "created": 1}'])
def test_a_broken_record_of_a_process_is_dropped(tmp_path: Path, content: str) -> None:
    (tmp_path / "program.pid").write_text(content)
    _child(tmp_path, "").end_leftover()
    assert not (tmp_path / "program.pid").exists()


def test_rotate_keeps_the_previous_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    rotate(log)
    log.write_text("first")
    rotate(log)
    assert not log.exists()
    assert (tmp_path / "a.log.1").read_text() == "first"


def test_tail_reads_only_the_end(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("\n".join(str(number) for number in range(100_000)))
    assert tail(log, 3).split() == ["99997", "99998", "99999"]
