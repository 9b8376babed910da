"""A training without torch whose fate is written in its seed, and a prediction without a network,
for tests of the machine around them.

Run as a program it is a worker, with settings from the environment, that trains like this.
"""

import hashlib
import json
import logging
import os
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
    Started,
    StepDone,
    Stopped,
)
from service.batches.config import ClassificationBatch
from service.batches.rows import Chunk, chunked, read_texts
from service.datasets.columns import ColumnType
from service.settings import Settings
from workers.app import make_room, run_worker, stop_on_signals
from workers.messages import Predict
from workers.predictor import Answer
from workers.training import Science

FINE, KILLED, DIVERGES, DEFECTIVE, HANGS, KILLED_ONCE, FULL_DISK, LATE_DEFECT, SLOW_START = range(9)
SECONDS_A_STEP = 0.02
FATAL_STEP = 3
LATE_STEP = 50
ROWS_A_CHUNK = 10


def prepare() -> Science:
    return Science(train, verify, manifest_sha256, Lengths)


def train(
    config: ForecastingConfig,
    examples: Any,
    *,
    device: str,
    control: Control,
    resume: Path | None,
    base: Path | None = None,
) -> Iterator[Event]:
    """`max_steps` steps; the "weights" are a digest of all of them."""
    state = {"step": 0, "weights": "", "resumed": resume is not None}
    if resume is not None:
        state |= json.loads((resume / "state.json").read_text()) | {"resumed": True}
    if config.training.seed == SLOW_START:
        time.sleep(3600)
    total = config.training.max_steps or 10
    yield Started(parameters=7, total_steps=total, first_step=state["step"])
    while state["step"] < total:
        time.sleep(SECONDS_A_STEP)
        state["step"] += 1
        state["weights"] = updated(state["weights"], state["step"])
        yield StepDone(state["step"], total, state["step"] / total, 1 / state["step"], 0.1, 1.0, 8)
        meet_fate(config.training.seed, state)
        if control.should_checkpoint():
            yield CheckpointDue(state["step"], lambda folder: save(folder, state))
        if control.should_stop():
            yield Stopped(state["step"])
            return
    metrics = {"loss": 0.5}
    yield Evaluated(total, 1.0, metrics, improved=True)
    yield Finished(total, metrics, "max_steps", lambda folder: save(folder, state))


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


if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    room = make_room(Settings(), science="tests.integration.scripted:prepare")
    stop_on_signals(room.stopping)
    run_worker(room)
