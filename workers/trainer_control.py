"""A trainer's side of the control: when to save, when to stop, what to tell."""

import math
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import BinaryIO, TypeVar

from rnn.events import Alert, BatchDivided, Diagnosed, Evaluated, Sampled, StepDone
from rnn.samples import ContinuedText, ForecastSeries, Sample
from workers.messages import (
    Alarm,
    Diagnostics,
    Divided,
    Evaluation,
    ForecastSample,
    LabelSample,
    LayerDiagnostics,
    Measured,
    Message,
    Samples,
    TextSample,
    to_line,
)
from workers.trainer_errors import shortened

REPORT_SECONDS = 0.5
# The first checkpoint comes so soon, to show that there is a disk to write on: after an hour it
# would cost an hour. Right after the first step it would cost a job of a second up to half of that.
TRIAL_SECONDS = 2.0


class Reporter:
    """Sends messages to the worker, whole and one at a time."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        with self._lock:
            self._pipe.write(to_line(message))
            self._pipe.flush()


class TrainingControl:
    """Answers `rnn.train`'s questions (`rnn.events.Control`); stopped from another thread.

    A stop that wants its work kept first answers `should_checkpoint` until that is done.
    """

    def __init__(self, checkpoint_interval_seconds: float) -> None:
        self._interval = checkpoint_interval_seconds
        self._began = time.monotonic()
        self._due = self._began + min(TRIAL_SECONDS, checkpoint_interval_seconds)
        self._stop = threading.Event()
        self._save_first = False

    def elapsed_seconds(self) -> float:
        return time.monotonic() - self._began

    def should_checkpoint(self) -> bool:
        return self._save_first or time.monotonic() >= self._due

    def should_stop(self) -> bool:
        return self._stop.is_set() and not self._save_first

    def saved(self) -> None:
        """The checkpoint that was due is on disk."""
        self._due = time.monotonic() + self._interval
        self._save_first = False

    def stop(self, *, save: bool) -> None:
        self._save_first = save
        self._stop.set()


class Meter:
    """Turns a stream of steps into a few reports: the first at once, then one each half second."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._first: tuple[float, int] | None = None
        self._reported_at = -math.inf
        self._timesteps = 0
        self._pending: tuple[StepDone, float, str] | None = None  # with the time it was done

    def step(self, event: StepDone) -> None:
        self._timesteps += event.timesteps
        moment = time.monotonic()
        self._pending = event, moment, now()
        if moment - self._reported_at >= REPORT_SECONDS:
            self.flush()

    def evaluated(self, event: Evaluated) -> None:
        self._pause()
        self._reporter.send(
            Evaluation(
                at=now(),
                step=event.step,
                epoch=event.epoch,
                metrics=finite_values(event.metrics),
                improved=event.improved,
            )
        )

    def sampled(self, event: Sampled) -> None:
        self._pause()
        samples = [_shown(sample) for sample in event.samples]
        self._reporter.send(Samples(at=now(), step=event.step, epoch=event.epoch, samples=samples))

    def diagnosed(self, event: Diagnosed) -> None:
        self._pause()
        layers = [
            LayerDiagnostics(
                layer=figures.layer,
                gradient_norms=finite_values(figures.gradient_norms),
                effective_memory=figures.effective_memory,
                gate_saturation=finite_values(figures.gate_saturation),
                spectral_radius=finite_values(figures.spectral_radius),
                dead_units=finite(figures.dead_units),
                update_ratio=finite(figures.update_ratio),
            )
            for figures in event.layers
        ]
        self._reporter.send(
            Diagnostics(at=now(), step=event.step, layers=layers, alerts=event.alerts)
        )

    def alert(self, event: Alert) -> None:
        self.flush()
        self._reporter.send(
            Alarm(
                at=now(),
                step=event.step,
                kind=event.kind,
                layer=event.layer,
                message=event.message,
                remedy=event.remedy,
            )
        )

    def divided(self, event: BatchDivided) -> None:
        self.flush()
        self._reporter.send(
            Divided(
                at=now(),
                step=event.step,
                parts=event.parts,
                rows=event.rows,
                reason=shortened(event.reason),
            )
        )

    def _pause(self) -> None:
        """Reports the newest step; what has passed since then is no time of steps."""
        self.flush()
        self._reported_at = time.monotonic()

    def flush(self) -> None:
        """Reports the newest step, if it was not."""
        if self._pending is None:
            return
        event, moment, at = self._pending
        self._pending = None
        if self._first is None:
            self._first = (moment, event.step)
        began, first_step = self._first
        self._reporter.send(
            Measured(
                at=at,
                step=event.step,
                total_steps=event.total_steps,
                epoch=event.epoch,
                loss=finite(event.loss),
                learning_rate=finite(event.learning_rate),
                gradient_norm=finite(event.gradient_norm),
                steps_per_second=rate(event.step - first_step, moment - began),
                timesteps_per_second=rate(self._timesteps, moment - self._reported_at),
                timesteps=self._timesteps,
            )
        )
        self._reported_at = moment
        self._timesteps = 0


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def rate(count: int, seconds: float) -> float | None:
    """None where there is no time to measure against: before the second report."""
    return count / seconds if 0 < seconds < math.inf else None


def finite(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


Name = TypeVar("Name", str, int)


def finite_values(values: dict[Name, float]) -> dict[Name, float | None]:
    return {name: finite(value) for name, value in values.items()}


def _shown(sample: Sample) -> TextSample | ForecastSample | LabelSample:
    if isinstance(sample, ContinuedText):
        return TextSample(prompt=_writable(sample.prompt), text=_writable(sample.text))
    if isinstance(sample, ForecastSeries):
        return ForecastSample(
            series=_writable(sample.series),
            position=sample.position,
            history=_numbers(sample.history),
            truth=_numbers(sample.truth),
            mean=_numbers(sample.mean),
            quantiles={f"{level:g}": _numbers(row) for level, row in sample.quantiles.items()},
        )
    return LabelSample(
        text=_writable(sample.text),
        label=_writable(sample.label),
        prediction=_writable(sample.prediction),
        score=finite(sample.score),
    )


def _numbers(values: Iterable[float]) -> list[float | None]:
    """Seven digits of each are what a float32 has, and a third of the text."""
    return [finite(float(f"{value:.7g}")) for value in values]


def _writable(text: str) -> str:
    """Without what neither UTF-8 nor PostgreSQL can hold: halves of surrogate pairs, and NUL, which
    a network of bytes may well draw."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
