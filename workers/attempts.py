"""Watches one attempt from the claim to its end: reports into the rows, lease, stops, drain."""

import logging
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from service.errors import ServiceError
from service.jobs import endings
from service.jobs.claims import Claim, Lease, heartbeat, look
from service.jobs.logs import log_path
from service.jobs.progress import Checkpoint, record_checkpoint, record_progress, record_resumption
from service.jobs.states import NOTHING_TO_RESUME, JobState
from service.jobs.transitions import EventType, NewEvent, StaleAttemptError, claimable_queues
from service.log_files import keep_end
from service.registry.rollout import roll_out
from service.registry.store import announce
from workers.messages import (
    Alarm,
    CheckpointSaved,
    Diagnostics,
    Divided,
    Evaluation,
    Measured,
    Message,
    PredictionFinished,
    PredictionStarted,
    Report,
    Resumed,
    RowsDone,
    Samples,
    Stop,
    TrainingFailed,
    TrainingFinished,
    TrainingStarted,
    TrainingStopped,
)
from workers.orders import make_order
from workers.room import Room
from workers.trainer_process import TrainerGoneError, TrainerProcess

log = logging.getLogger(__name__)

LISTEN_SECONDS = 0.2
CANCEL_GRACE_SECONDS = 1.0
WRITE_SECONDS = 0.5  # reports of so long are one transaction
DATABASE_RETRY_SECONDS = 1.0
MAX_BUFFERED_EVENTS = 5_000
DATABASE_ERRORS = (OperationalError, InterfaceError, PoolTimeoutError)

Result = TypeVar("Result")


class GaveUpError(Exception):
    """The worker must stop and cannot say so to the database: the lease will run out instead."""


class AttemptWatch:
    """One claim and one trainer. `run` returns when the attempt is over, for whatever reason."""

    def __init__(self, room: Room, claim: Claim, trainer: TrainerProcess) -> None:
        self._room = room
        self._claim = claim
        self._attempt = claim.attempt
        self._trainer = trainer
        self._kept = _kept_checkpoints(claim.job.checkpoint)
        self._events: list[NewEvent] = []
        self._progress: dict[str, Any] = dict(claim.job.progress)
        self._metrics: dict[str, Any] | None = None
        self._timesteps = 0  # trained on, and not written yet
        self._parameters = 0
        moment = time.monotonic()
        self._look_at = moment + room.settings.cancel_poll_seconds
        self._beat_at = moment + room.settings.heartbeat_seconds
        self._write_at = moment
        self._has_step = False
        self._kill_at: float | None = None
        self._give_up_at: float | None = None

    def run(self) -> None:
        try:
            self._train()
        except StaleAttemptError as stale:
            log.warning("%s: its trainer is ended", stale)
            self._trainer.kill()
        except GaveUpError:
            log.error("the database does not answer: job %s is left", self._attempt.job_id)
            self._trainer.kill()
        self._shorten_log()

    def _train(self) -> None:
        over = False
        try:
            self._trainer.send(make_order(self._room, self._claim, self._kept))
            while not over:
                for report in self._trainer.receive(LISTEN_SECONDS):
                    over = self._take(report) or over
                if not over:
                    self._write_buffered()
                    self._keep_lease()
                    self._obey_stop()
                    self._shorten_log()
        except TrainerGoneError:
            self._trainer_gone()

    def _shorten_log(self) -> None:
        path = log_path(self._room.artifacts, self._attempt.job_id, self._attempt.number)
        keep_end(path, self._room.settings.max_log_bytes)

    # Reports

    def _take(self, report: Report) -> bool:
        """Handles one report; True when it was the last of the attempt."""
        match report:
            case Resumed():
                self._resumed(report)
            case TrainingStarted():
                self._parameters = report.parameters
                if report.first_step == 0:  # what an earlier attempt found is not so any more
                    self._tell_alerts([])
                text = f"trains {report.parameters} weights from step {report.first_step}"
                event = {"level": "info", "text": text, **_data(report)}
                self._events.append(NewEvent("message", event))
            case Measured():
                self._measured(report)
            case Evaluation():
                self._metrics = report.metrics
                self._measurement("evaluation", report)
            case Samples():
                self._event("sample", _data(report))
            case Diagnostics():
                holding = {(kind, layer) for kind, layer in report.alerts}
                alerts = [each for each in self._alerts if (each["kind"], each["layer"]) in holding]
                self._tell_alerts(alerts)
                self._measurement("diagnostics", report)
            case Alarm():
                place = (report.kind, report.layer)  # a resumed training tells it again
                others = [each for each in self._alerts if (each["kind"], each["layer"]) != place]
                self._tell_alerts([*others, _data(report)])
                self._events.append(NewEvent("alert", _data(report)))
            case Divided():
                text = (
                    f"memory ran out in step {report.step}: batches are taken in {report.parts}"
                    f" parts of at most {report.rows} rows from here on, with the gradient of the"
                    " whole"
                )
                event = {"level": "warning", "text": text, **_data(report)}
                self._events.append(NewEvent("message", event))
            case CheckpointSaved():
                self._checkpoint(report)
            case TrainingFinished():
                self._finished(report)
                return True
            case PredictionStarted():
                self._prediction_started(report)
            case RowsDone():
                self._rows_done(report)
            case PredictionFinished():
                self._predicted(report)
                return True
            case TrainingStopped():
                self._write_buffered(at_once=True)
                self._end(lambda db: endings.release(db, self._attempt))
                return True
            case TrainingFailed():
                self._write_buffered(at_once=True)
                self._end(
                    lambda db: endings.fail(db, self._attempt, report.error_type, report.detail)
                )
                return True
        return False

    def _resumed(self, report: Resumed) -> None:
        used = None
        if report.used is not None:
            used = self._kept[report.used]
        rejected = [bad.model_dump() for bad in report.rejected]
        self._insist(lambda db: record_resumption(db, self._attempt, used=used, rejected=rejected))

    @property
    def _alerts(self) -> list[dict[str, Any]]:
        """Those that hold, as they were told."""
        alerts: list[dict[str, Any]] = self._progress.get("alerts", [])
        return alerts

    def _tell_alerts(self, alerts: list[dict[str, Any]]) -> None:
        self._progress = {**self._progress, "alerts": alerts}

    def _measured(self, report: Measured) -> None:
        self._progress = {
            **self._progress,
            "step": report.step,
            "total_steps": report.total_steps,
            "epoch": report.epoch,
            "steps_per_second": report.steps_per_second,
        }
        self._timesteps += report.timesteps
        self._step("step", report)

    def _prediction_started(self, report: PredictionStarted) -> None:
        counted = {"step": report.rows, "total_steps": report.total_rows}
        self._progress = {**self._progress, **counted, "failed_rows": report.failed_rows}
        text = f"predicts {report.total_rows} rows, of which {report.rows} are done"
        event = {"level": "info", "text": text, **_data(report)}
        self._events.append(NewEvent("message", event))

    def _rows_done(self, report: RowsDone) -> None:
        self._progress = {
            "step": report.rows,
            "total_steps": report.total_rows,
            "steps_per_second": report.rows_per_second,
            "failed_rows": report.failed_rows,
        }
        self._step("rows", report)

    def _step(self, kind: str, report: Measured | RowsDone) -> None:
        if not self._has_step:  # whoever submitted the job waits for this one
            self._has_step = True
            self._write_at = time.monotonic()
        self._measurement(kind, report)

    def _measurement(
        self, kind: str, report: Measured | RowsDone | Evaluation | Diagnostics
    ) -> None:
        self._event("metrics", {"kind": kind, **_data(report)})

    def _event(self, type_: EventType, data: dict[str, Any]) -> None:
        if len(self._events) < MAX_BUFFERED_EVENTS:  # a long outage thins the curve out
            self._events.append(NewEvent(type_, data))

    def _checkpoint(self, report: CheckpointSaved) -> None:
        self._write_buffered(at_once=True)
        artifacts = self._room.artifacts
        obsolete = self._insist(
            lambda db: record_checkpoint(
                db,
                self._attempt,
                step=report.step,
                path=artifacts.relative(report.path),
                sha256=report.sha256,
            )
        )
        if obsolete is not None:
            shutil.rmtree(artifacts.absolute(obsolete), ignore_errors=True)

    def _finished(self, report: TrainingFinished) -> None:
        self._write_buffered(at_once=True)
        path = self._room.artifacts.relative(report.path)
        if self._claim.job.sweep_id is None:
            roll_out(
                self._room.settings.database_url.get_secret_value(),
                lambda number: self._insist(lambda db: announce(db, path, report.sha256, number)),
            )
        progress = {**self._progress, "step": report.step, "reason": report.reason}
        trained = endings.Trained(
            path,
            report.sha256,
            report.metrics,
            self._parameters,
            progress,
            asdict(report.serving),
        )
        code_version = self._room.code_version
        state = self._end_well(  # unless another task took the model's name meanwhile
            lambda db: endings.finish(db, self._attempt, trained, code_version=code_version)
        )
        if state is not JobState.SUCCEEDED:
            shutil.rmtree(report.path, ignore_errors=True)

    def _predicted(self, report: PredictionFinished) -> None:
        self._write_buffered(at_once=True)
        metrics = {"rows": report.rows, "failed_rows": report.failed_rows}
        predicted = endings.Predicted(
            report.path, report.sha256, report.size_bytes, report.profile, metrics, self._progress
        )
        artifacts = self._room.artifacts
        self._end_well(
            lambda db: endings.finish_prediction(db, self._attempt, predicted, artifacts)
        )

    def _trainer_gone(self) -> None:
        """The trainer ended without a last word: killed by us after a stop, or crashed."""
        ending = self._trainer.close()
        self._write_buffered(at_once=True)
        if self._kill_at is not None:
            self._end(lambda db: endings.release(db, self._attempt))
            return
        log.warning("the trainer of job %s is gone: %s", self._attempt.job_id, ending)
        most = self._room.settings.max_crashes_without_progress
        self._end(lambda db: endings.crash(db, self._attempt, ending, max_crashes=most))

    # Time

    def _write_buffered(self, *, at_once: bool = False) -> None:
        """Writes what came since the last time, as one transaction; keeps it where that fails.

        Unless it has to be at once, reports are gathered for a while first.
        """
        if not self._events or (not at_once and time.monotonic() < self._write_at):
            return
        events, metrics, timesteps = self._events, self._metrics, self._timesteps

        def record(db: Session) -> None:
            record_progress(
                db,
                self._attempt,
                progress=self._progress,
                metrics=metrics,
                events=events,
                timesteps=timesteps,
            )

        if at_once:
            self._insist(record)
        elif not self._attempted(record):
            self._write_at = time.monotonic() + DATABASE_RETRY_SECONDS
            return
        self._events, self._metrics, self._timesteps = [], None, 0
        self._write_at = time.monotonic() + WRITE_SECONDS

    def _keep_lease(self) -> None:
        """Prolongs the lease, or only looks whether it is still ours and whether to cancel."""
        moment = time.monotonic()
        if moment < self._look_at:
            return
        answer: list[Lease] = []
        beat = moment >= self._beat_at

        def ask(db: Session) -> None:
            seconds = self._room.settings.lease_seconds
            answer.append(
                heartbeat(db, self._attempt, lease_seconds=seconds)
                if beat
                else look(db, self._attempt)
            )

        asked = self._attempted(ask)
        moment = time.monotonic()
        self._look_at = moment + self._room.settings.cancel_poll_seconds
        if not asked:
            return
        if beat:
            self._beat_at = moment + self._room.settings.heartbeat_seconds
        if answer[0] is Lease.LOST:
            raise StaleAttemptError(f"attempt {self._attempt} lost its lease")
        if answer[0] is Lease.CANCEL_REQUESTED:
            self._stop(save=False, grace_seconds=CANCEL_GRACE_SECONDS)
        elif answer[0] is Lease.STOP_REQUESTED:
            self._stop(save=True, grace_seconds=self._room.settings.drain_seconds)

    def _obey_stop(self) -> None:
        moment = time.monotonic()
        if self._room.stopping.is_set():
            self._stop(save=True, grace_seconds=self._room.settings.drain_seconds)
        if self._kill_at is not None and moment >= self._kill_at:
            self._trainer.kill()  # its closed pipe ends the loop

    def _stop(self, *, save: bool, grace_seconds: float) -> None:
        """Asks the trainer to stop, once; a cancel after a drain shortens what is left.

        A trainer that ended meanwhile is no news: what it still reported is received first.
        """
        kill_at = time.monotonic() + grace_seconds
        if self._kill_at is None:
            self._kill_at = kill_at
            with suppress(TrainerGoneError):
                self._trainer.send(Stop(save=save))
        elif not save and kill_at < self._kill_at:
            self._kill_at = kill_at
            with suppress(TrainerGoneError):
                self._trainer.send(Stop(save=False))

    # Database

    def _attempted(self, write: Callable[[Session], None]) -> bool:
        """One try; False while the database does not answer."""
        try:
            with self._room.database.transaction() as db:
                write(db)
        except DATABASE_ERRORS as error:
            log.warning("job %s: the database does not answer: %s", self._attempt.job_id, error)
            return False
        return True

    def _insist(self, write: Callable[[Session], Result]) -> Result:
        """Tries until it is said; gives up when the worker has to stop and the time is over."""
        while True:
            try:
                with self._room.database.transaction() as db:
                    return write(db)
            except DATABASE_ERRORS as error:
                log.warning("job %s: the database does not answer: %s", self._attempt.job_id, error)
            if self._room.stopping.is_set():
                moment = time.monotonic()
                if self._give_up_at is None:
                    self._give_up_at = moment + self._room.settings.drain_seconds
                if moment >= self._give_up_at:
                    raise GaveUpError
            time.sleep(DATABASE_RETRY_SECONDS)

    def _end_well(self, ending: Callable[[Session], JobState]) -> JobState:
        """Ends the attempt so; or as failed, where the service says that it cannot end so."""
        try:
            return self._end(ending)
        except ServiceError as error:
            problem, detail = error.problem, error.detail
            return self._end(lambda db: endings.fail(db, self._attempt, problem, detail))

    def _end(self, ending: Callable[[Session], JobState]) -> JobState:
        job_id, number = self._attempt.job_id, self._attempt.number
        state, queues = self._insist(lambda db: (ending(db), claimable_queues(db, job_id)))
        log.info("job %s attempt %s: %s", job_id, number, state)
        for queue in queues:
            if not self._room.waker.wake(queue):
                break  # Redis does not answer
        if state in NOTHING_TO_RESUME:
            self._room.artifacts.remove_checkpoints(job_id, number)
        return state


def _kept_checkpoints(newest: dict[str, Any] | None) -> list[Checkpoint]:
    kept = []
    while newest is not None:
        kept.append(
            Checkpoint(
                attempt=newest["attempt"],
                step=newest["step"],
                path=newest["path"],
                sha256=newest["sha256"],
                previous=newest["previous"],
            )
        )
        newest = newest["previous"]
    return kept


def _data(report: Message) -> dict[str, Any]:
    return report.model_dump(exclude={"type", "timesteps"})
