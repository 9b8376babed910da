import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rnn.kernels import library
from service.jobs.wake import Waker
from service.settings import Settings
from tests.integration.machine import ROOT
from workers import app
from workers.app import MAX_PASSES, ring_or_pass
from workers.room import Doorbell


def test_a_worker_whose_trainers_could_not_start_says_why(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    forced = settings.model_copy(update={"kernels": "avx2"})
    monkeypatch.setattr(app, "Settings", lambda: forced)
    monkeypatch.setattr(app, "configure_logging", lambda _level: None)
    with pytest.raises(SystemExit, match="cannot run here"):
        app.main()


class Wakes(Waker):
    """Remembers what was sent on."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []

    def wake(self, queue: str, *, passes: int = 0) -> bool:
        self.sent.append((queue, passes))
        return True


@pytest.mark.parametrize(
    ("idle", "stopping", "passes", "rings", "sent"),
    [
        (True, False, 0, 1, []),
        (False, False, 2, 0, [("cpu", 3)]),
        (True, True, 0, 0, [("cpu", 1)]),
        (False, False, MAX_PASSES, 0, []),
    ],
)
def test_ring_or_pass(
    idle: bool, stopping: bool, passes: int, rings: int, sent: list[tuple[str, int]]
) -> None:
    """A busy GPU worker sent the wake-up of `cpu` to `gpu`, and one that drained swallowed it."""
    bell, wakes = Doorbell(), Wakes()
    room = SimpleNamespace(
        bell=bell, waker=wakes, stopping=SimpleNamespace(is_set=lambda: stopping)
    )
    slots = [SimpleNamespace(idle=False), SimpleNamespace(idle=idle)]
    ring_or_pass(cast(Any, room), cast(Any, slots), "cpu", passes)
    assert (bell.rings(), wakes.sent) == (rings, sent)


DRAIN = """
import os, signal, threading, time
from workers.app import stop_on_signals, wait_for

def receive():
    time.sleep(0.2)  # the main thread waits
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    time.sleep(60)

stopping = threading.Event()
stop_on_signals(stopping)
threading.Thread(target=receive, daemon=True).start()
wait_for(stopping)
"""


def test_a_signal_that_another_thread_receives_drains_too() -> None:
    """The main thread slept on, and the worker never drained."""
    subprocess.run([sys.executable, "-c", DRAIN], cwd=ROOT, check=True, timeout=30)
