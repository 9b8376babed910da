"""The child process that trains: `python -m workers.trainer`, started by a worker's slot.

It imports what is slow, says that it is ready, waits for its one job, a training or a prediction of
a data set, does it and ends. It knows no database and no queue: it reads a data set's file, writes
into its attempt's folder and reports over a pipe. It dies with its worker: the kernel's
parent-death signal, a check of the parent, and the end of the command pipe each see to it.
"""

import argparse
import contextlib
import ctypes
import importlib
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import BinaryIO

from rnn.kernels import library
from workers.messages import COMMANDS, Ready, Stop, Train, TrainingFailed, TrainingStopped
from workers.prediction import predict
from workers.trainer_control import Reporter, TrainingControl
from workers.trainer_errors import explain
from workers.trainer_memory import limit_memory
from workers.training import Science, run

PR_SET_PDEATHSIG = 1
OOM_SCORE = "500"  # where memory runs out, a trainer goes before the database


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, required=True, help="descriptor to read from")
    parser.add_argument("--reports", type=int, required=True, help="descriptor to write to")
    parser.add_argument("--parent", type=int, required=True, help="process to die with")
    parser.add_argument("--science", required=True, help="module:function that gives a Science")
    parser.add_argument("--kernels", required=True, help="what `rnn.kernels.library` selects")
    parser.add_argument("--memory-bytes", type=int, help="what it may take of the host's memory")
    arguments = parser.parse_args()
    die_with(arguments.parent)
    kernels = library.select(arguments.kernels)
    commands: BinaryIO = os.fdopen(arguments.commands, "rb")
    reporter = Reporter(os.fdopen(arguments.reports, "wb"))
    module, _, function = arguments.science.partition(":")
    science: Science = getattr(importlib.import_module(module), function)()
    if arguments.memory_bytes is not None:
        limit_memory(arguments.memory_bytes)
    reporter.send(Ready())
    line = commands.readline()
    if not line:
        return
    order = COMMANDS.validate_json(line)
    assert not isinstance(order, Stop)
    control = TrainingControl(order.checkpoint_interval_seconds)
    training = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: control.stop(save=True))
    threading.Thread(target=obey, args=(commands, control, reporter, training), daemon=True).start()
    try:
        order.log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        redirect_output(order.log_path)
        sys.stderr.write(f"kernels: {kernels.level} ({kernels.reason})\n")
        if isinstance(order, Train):
            run(order, science, control, reporter, training)
        else:
            predict(order, science, control, reporter, training)
    except Exception as error:
        with contextlib.suppress(OSError):  # the log lies on a disk that may be full
            traceback.print_exc()
        error_type, detail = explain(error)
        reporter.send(TrainingFailed(error_type=error_type, detail=detail))


def die_with(parent: int) -> None:
    """Has the kernel kill this process when the thread that started it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the worker ended before its trainer began")
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)


def redirect_output(log_path: Path) -> None:
    """From here on, what is printed by this process and by its libraries goes to the log."""
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def obey(
    commands: BinaryIO, control: TrainingControl, reporter: Reporter, training: threading.Event
) -> None:
    """Takes commands while the training runs; ends the process when the worker is gone."""
    for line in commands:
        command = COMMANDS.validate_json(line)
        assert isinstance(command, Stop)
        control.stop(save=command.save)
        if not training.is_set():  # still reading its data: there is no step to wait for
            reporter.send(TrainingStopped())
            os._exit(0)
    os._exit(1)


if __name__ == "__main__":
    main()
