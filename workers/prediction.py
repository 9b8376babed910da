"""One prediction of a whole data set, from a trainer's order to its last report.

Rows are answered a chunk at a time, in order, and written into parts (`service.batches.parts`). A
checkpoint is the list of the parts so far; a later attempt goes on after the last row in it.
"""

import math
import threading
import time
from collections.abc import Generator
from contextlib import closing
from functools import partial
from itertools import chain
from typing import Any

from pydantic_core import to_json

from service.batches import parts
from service.batches.parts import PartFile, Saved
from service.batches.rows import Chunk
from service.datasets.profile import profile_own
from service.errors import ValidationError
from workers.messages import (
    CheckpointSaved,
    Predict,
    PredictionFinished,
    PredictionStarted,
    RowsDone,
    TrainingStopped,
)
from workers.predictor import ERROR, Answer, Predictor
from workers.trainer_control import REPORT_SECONDS, Reporter, TrainingControl, now, rate
from workers.training import Science, checked_base, choose_checkpoint


def predict(
    order: Predict,
    science: Science,
    control: TrainingControl,
    reporter: Reporter,
    rows: threading.Event,
) -> None:
    """Predicts and reports; sets `rows` when the first are read, from where on a stop is heard.

    Raises ValidationError where the result would have more than `max_result_bytes`.
    """
    checked_base(order, science)
    order.checkpoints_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    result = _Result(order, _resumed(order, science, reporter), reporter)
    predictor = science.load_predictor(order)
    chunks = predictor.chunks(result.rows)
    first = [chunk for chunk in [next(chunks, None)] if chunk is not None]
    rows.set()
    reporter.send(
        PredictionStarted(
            at=now(),
            rows=result.rows,
            total_rows=predictor.total,
            failed_rows=result.failed_rows,
        )
    )
    meter = _Meter(reporter, result.rows, predictor.total)
    with closing(result):
        for chunk in chain(first, chunks):
            answers = _unless_stopped(predictor.answers(chunk), result, control)
            if answers is None:
                meter.report(result)
                reporter.send(TrainingStopped())
                return
            result.add(chunk, answers)
            meter.look(result)
        result.save()
    meter.report(result)
    reporter.send(result.finished(predictor))


def _unless_stopped(
    turns: Generator[None, None, list[Answer]], result: "_Result", control: TrainingControl
) -> list[Answer] | None:
    """The answers of a chunk; None where the trainer is to stop before they are there. Between two
    turns what was answered before is saved where that is due."""
    while True:
        if control.should_checkpoint():
            result.save()
            control.saved()
        if control.should_stop():
            return None
        try:
            next(turns)
        except StopIteration as end:
            answers: list[Answer] = end.value
            return answers


def _resumed(order: Predict, science: Science, reporter: Reporter) -> Saved:
    """What an earlier attempt saved, if all of it is as it was."""
    job_dir = order.checkpoints_dir.parent.parent
    folders = science._replace(
        verify=partial(parts.verify, job_dir=job_dir), manifest_sha256=parts.list_sha256
    )
    path = choose_checkpoint(order, folders, reporter)
    return Saved() if path is None else parts.read(path)


class _Result:
    """The rows that are answered, on their way into parts."""

    def __init__(self, order: Predict, saved: Saved, reporter: Reporter) -> None:
        self.rows = saved.rows
        self.failed_rows = saved.failed_rows
        self._saved = saved
        self._part: PartFile | None = None
        self._folder = order.checkpoints_dir
        self._job_dir = order.checkpoints_dir.parent.parent
        self._max_bytes = order.max_result_bytes
        self._reporter = reporter

    def add(self, chunk: Chunk[Any], answers: list[Answer]) -> None:
        """Raises ValidationError where the result becomes too large."""
        assert (chunk.first, len(answers)) == (self.rows + 1, len(chunk.rows))
        part = self._part = self._part or PartFile(self._folder, chunk.first)
        for answer in answers:
            part.write(to_json(answer) + b"\n")
        self.rows = chunk.last
        self.failed_rows += sum(ERROR in answer for answer in answers)
        if self._saved.size_bytes + part.size_bytes > self._max_bytes:
            raise ValidationError(
                f"The result of the first {self.rows} rows has more than {self._max_bytes} bytes, "
                "which is the limit: predict less of each row, or fewer rows."
            )

    def save(self) -> None:
        """Makes all rows so far durable, if there are any new ones, and reports it."""
        if self._part is None:
            return
        part = self._part.close(self.rows, self._job_dir)
        self._part = None
        self._saved = Saved(parts=(*self._saved.parts, part), failed_rows=self.failed_rows)
        path = self._folder / f"step-{self.rows}"
        parts.save(path, self._saved)
        digest = parts.list_sha256(path)
        self._reporter.send(CheckpointSaved(step=self.rows, path=path, sha256=digest))

    def close(self) -> None:
        """Forgets the rows that were not saved."""
        if self._part is not None:
            self._part.discard()
            self._part = None

    def finished(self, predictor: Predictor) -> PredictionFinished:
        """Joins the parts, all of which are saved, and describes the whole."""
        path = self._folder / "result.jsonl"
        written = parts.join(self._saved.parts, self._job_dir, path)
        profile = profile_own(path, predictor.columns)
        assert profile["rows"] == self.rows == predictor.total, (profile["rows"], self.rows)
        return PredictionFinished(
            rows=self.rows,
            failed_rows=self.failed_rows,
            path=path,
            sha256=written.sha256,
            size_bytes=written.size_bytes,
            profile=profile,
        )


class _Meter:
    """Reports progress: after the first rows at once, then once each half second."""

    def __init__(self, reporter: Reporter, first_row: int, total: int) -> None:
        self._reporter = reporter
        self._first_row = first_row
        self._total = total
        self._began = time.monotonic()
        self._reported_at = -math.inf
        self._reported = first_row

    def look(self, result: _Result) -> None:
        if time.monotonic() - self._reported_at >= REPORT_SECONDS:
            self.report(result)

    def report(self, result: _Result) -> None:
        """Reports the newest rows, if they were not."""
        if result.rows == self._reported:
            return
        self._reported_at, self._reported = time.monotonic(), result.rows
        self._reporter.send(
            RowsDone(
                at=now(),
                rows=result.rows,
                total_rows=self._total,
                failed_rows=result.failed_rows,
                rows_per_second=rate(
                    result.rows - self._first_row, self._reported_at - self._began
                ),
            )
        )
