"""A training without torch whose fate is written in its seed, and a prediction without a network,
to try the machine around them.

`benchmarks.faults.worker` is a worker whose trainers train like this. Where the environment names a
folder in FAULTS_NOTES, each trainer writes down there what it does.
"""

import hashlib
import json
import os
import re
import signal
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, ClassVar

from rnn.config import ForecastingConfig
from rnn.errors import CheckpointError, DivergedError
from rnn.events import (
    CheckpointDue,
    Control,
    Evaluated,
    Event,
    Finished,
    Serving,
    Started,
    StepDone,
    Stopped,
)
from service.batches.config import ClassificationBatch
from service.batches.rows import Chunk, chunked, read_texts
from service.datasets.columns import ColumnType
from workers.messages import Predict
from workers.predictor import Answer
from workers.training import Science

FINE, KILLED, DIVERGES, DEFECTIVE, HANGS, KILLED_ONCE, FULL_DISK, LATE_DEFECT, SLOW_START = range(9)
SECONDS_A_STEP = 0.02
FATAL_STEP = 3
LATE_STEP = 50
OUTPUT = re.compile(r"/jobs/(?P<job>[0-9a-f-]{36})/attempt-(?P<attempt>\d+)/")
ROWS_A_CHUNK = 10
UNMEASURED = Serving("float32", {}, positions=0, max_loss_increase=None)


class Notes:
    """What this trainer did, with times of the clock that nobody moves, in a file of its own."""

    def __init__(self) -> None:
        self._file: int | None = None
        folder = os.environ.get("FAULTS_NOTES")
        output = OUTPUT.search(str(Path("/proc/self/fd/1").readlink()))
        if folder is None or output is None:
            return
        self._known = {"job": output["job"], "attempt": int(output["attempt"]), "pid": os.getpid()}
        name = f"trainer-{output['job']}-{output['attempt']}-{os.getpid()}.jsonl"
        self._file = os.open(Path(folder) / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, op: str, step: int) -> None:
        """`start`, `step`, `save` or `end`. Killed in between, there is a line or there is none."""
        if self._file is not None:
            line = {"op": op, "at": time.monotonic(), **self._known, "step": step}
            os.write(self._file, json.dumps(line).encode() + b"\n")


def prepare() -> Science:
    return Science(train, verify, manifest_sha256, Lengths)


def train(
    config: ForecastingConfig,
    examples: Any,  # noqa: ARG001 - as rnn.train takes them
    *,
    device: str,  # noqa: ARG001
    control: Control,
    resume: Path | None,
    base: Path | None = None,  # noqa: ARG001
) -> Iterator[Event]:
    """`max_steps` steps; the "weights" are a digest of all of them."""
    state: dict[str, Any] = {"step": 0, "weights": "", "resumed": resume is not None}
    if resume is not None:
        state |= json.loads((resume / "state.json").read_text()) | {"resumed": True}
    if config.training.seed == SLOW_START:
        time.sleep(3600)
    total = config.training.max_steps or 10
    notes = Notes()
    notes.add("start", state["step"])
    yield Started(parameters=7, total_steps=total, first_step=state["step"])
    while state["step"] < total:
        time.sleep(SECONDS_A_STEP)
        state["step"] += 1
        notes.add("step", state["step"])
        state["weights"] = updated(state["weights"], state["step"])
        yield StepDone(state["step"], total, state["step"] / total, 1 / state["step"], 0.1, 1.0, 8)
        meet_fate(config.training.seed, state)
        if control.should_checkpoint():
            yield CheckpointDue(state["step"], lambda folder: save(folder, state))
            notes.add("save", state["step"])
        if control.should_stop():
            notes.add("end", state["step"])
            yield Stopped(state["step"])
            return
    metrics = {"loss": 0.5}
    yield Evaluated(total, 1.0, metrics, improved=True)
    notes.add("end", total)
    yield Finished(total, metrics, "max_steps", lambda folder: save(folder, state), UNMEASURED)


class Lengths:
    """Predicts of each text how long it is."""

    columns: ClassVar[dict[str, ColumnType]] = {
        "row": "number",
        "length": "number",
        "error": "text",
    }

    def __init__(self, order: Predict) -> None:
        assert isinstance(order.config, ClassificationBatch)
        self._order, self._column = order, order.config.data.text_column
        self.total = order.profile["rows"]

    def chunks(self, done: int) -> Iterator[Chunk[str | None]]:
        order = self._order
        texts = read_texts(order.dataset_path, order.profile, self._column, done=done)
        rows = ((text, 1) for text in texts)
        return chunked(rows, done + 1, most_rows=ROWS_A_CHUNK, most_size=ROWS_A_CHUNK)

    def answers(self, chunk: Chunk[str | None]) -> Generator[None, None, list[Answer]]:
        time.sleep(SECONDS_A_STEP)
        yield
        return [
            {"row": row, "length": len(text)} if text else {"row": row, "error": "it is empty"}
            for row, text in enumerate(chunk.rows, chunk.first)
        ]


def updated(weights: str, step: int) -> str:
    return hashlib.sha256(f"{weights}{step}".encode()).hexdigest()


def meet_fate(fate: int, state: dict[str, Any]) -> None:
    if fate == LATE_DEFECT and state["step"] == LATE_STEP:
        raise RuntimeError("a defect")
    if state["step"] != FATAL_STEP and fate != HANGS:
        return
    if fate == KILLED or (fate == KILLED_ONCE and not state["resumed"]):
        os.kill(os.getpid(), signal.SIGKILL)
    if fate == DIVERGES:
        raise DivergedError("step 3: the loss is nan")
    if fate == DEFECTIVE:
        raise RuntimeError("a defect\nwith a second line")
    if fate == FULL_DISK:
        raise OSError(28, "No space left on device")
    if fate == HANGS and state["step"] >= FATAL_STEP:
        time.sleep(3600)


def save(folder: Path, state: dict[str, Any]) -> None:
    temporary = folder.with_name(f".{folder.name}")
    temporary.mkdir(parents=True)
    content = json.dumps({key: state[key] for key in ("step", "weights")})
    (temporary / "state.json").write_text(content)
    digest = hashlib.sha256(content.encode()).hexdigest()
    (temporary / "manifest.json").write_text(json.dumps({"state.json": digest}))
    temporary.rename(folder)


def verify(folder: Path) -> None:
    try:
        expected = json.loads((folder / "manifest.json").read_text())["state.json"]
        content = (folder / "state.json").read_bytes()
    except OSError as error:
        raise CheckpointError(f"{folder.name} cannot be read") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise CheckpointError(f"{folder.name}/state.json is torn")


def manifest_sha256(folder: Path) -> str:
    return hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
