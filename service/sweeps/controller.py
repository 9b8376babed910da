"""Moves sweeps on: hears their trials, prunes, adds trials, publishes the best. One tick at a time.

Whatever a step decides is written in one transaction, Optuna's part with ours, under the lock of
the sweep's row: a process that dies between two steps leaves nothing to repair, and of several
controllers one does each step.
"""

import json
import logging
import math
import shutil
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from pydantic import ValidationError as PydanticValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from rnn.errors import RnnError
from service.artifacts.store import ArtifactStore
from service.db.engine import Database
from service.db.tables import Job, Sweep, Workspace
from service.errors import QuotaExceededError, ServiceError
from service.jobs.quotas import default_quota, require_room
from service.jobs.requests import JOB_REQUESTS, JobRequest
from service.jobs.states import TERMINAL, JobState
from service.jobs.store import Trial, request_cancel
from service.jobs.submission import Prepared, enqueue, prepare
from service.jobs.wake import Waker
from service.jobs.workers import live_slots
from service.registry.rollout import roll_out
from service.registry.store import announce, register_version
from service.settings import Settings
from service.sweeps import store
from service.sweeps.space import SPACES, Values, lies_in, reason, values_at, with_values

if TYPE_CHECKING:
    from service.sweeps.study import Studies, Study

log = logging.getLogger(__name__)

ADDED_AT_ONCE = 20  # trials of one sweep
REMOVED_AT_ONCE = 100  # networks


class _Choice(NamedTuple):
    """What the next trial of a sweep tries, and what that makes of its job."""

    number: int
    values: Values
    request: JobRequest
    prepared: Prepared


class Controller:
    """For one thread."""

    def __init__(
        self, settings: Settings, database: Database, artifacts: ArtifactStore, waker: Waker
    ) -> None:
        self._settings = settings
        self._database = database
        self._artifacts = artifacts
        self._waker = waker
        self._made_studies: Studies | None = None

    def tick(self) -> None:
        """One look at every sweep. What goes wrong with one holds up no other.

        Raises what the database raises while it does not answer.
        """
        with self._database.transaction() as db:
            running = store.running(db)
        for sweep_id in running:
            try:
                self._hear(sweep_id)
                for _ in range(ADDED_AT_ONCE):
                    if not self._add(sweep_id):
                        break
                self._finish(sweep_id)
            except (OperationalError, InterfaceError, PoolTimeoutError):
                raise
            except Exception:
                log.exception("sweep %s: it could not be moved on", sweep_id)
        while self._cancel_one():
            pass
        self._remove_networks()

    # Hearing of trials

    def _hear(self, sweep_id: UUID) -> None:
        """Tells the study what became of the trials, and cancels those that it would prune."""
        with self._database.transaction() as db:
            sweep = store.take(db, sweep_id)
            trials = store.untold(db, sweep_id) if sweep else []
            if sweep is None or not trials:
                return
            study = self._studies().open(db, sweep)
            each_epoch = store.evaluations_per_epoch(db, sweep_id)
            for job in trials:
                self._hear_trial(db, sweep, study, job, each_epoch)
            sweep.importance = study.importance()

    def _hear_trial(
        self, db: Session, sweep: Sweep, study: "Study", job: Job, each_epoch: int
    ) -> None:
        assert job.trial is not None
        reports = store.reports(db, job, sweep.metric)
        ended = job.state in TERMINAL
        store.told(db, job, job.last_event_seq if ended else reports[-1].seq)
        if not study.is_running(job.trial):  # was pruned: its last words change nothing
            return
        prune_after = None
        for report in reports:
            number = evaluation_number(report.epoch, each_epoch)
            if report.value is None or not is_told(number):
                continue
            if study.report(job.trial, number, report.value) and prune_after is None:
                prune_after = number
        if ended:
            value = job.metrics.get(sweep.metric)
            succeeded = job.state == JobState.SUCCEEDED and value is not None
            study.tell(job.trial, "succeeded" if succeeded else "failed", value)
        elif prune_after is not None and self._prune(db, sweep, job, prune_after):
            study.tell(job.trial, "pruned")

    def _prune(self, db: Session, sweep: Sweep, job: Job, after: int) -> bool:
        """False where it ended meanwhile: that will be told."""
        detail = f"its {sweep.metric} was among the worse ones after {after} evaluations"
        try:
            with db.begin_nested():
                error = {"type": store.PRUNED, "detail": detail}
                request_cancel(db, job.workspace_id, job.id, error=error)
        except ServiceError:
            return False
        log.info("sweep %s: trial %s is pruned: %s", sweep.id, job.trial, detail)
        return True

    # Adding trials

    def _add(self, sweep_id: UUID) -> bool:
        """Queues one more trial, if there is to be one; whether it did."""
        try:
            choice = self._choose(sweep_id)
            if choice is None:
                return False
            with self._database.transaction() as db:
                sweep = store.take(db, sweep_id)
                if sweep is None or store.count_trials(db, sweep_id)[0] != choice.number:
                    return False  # somebody else was faster
                number = self._studies().open(db, sweep).add(choice.values)
                assert number == choice.number, "the study has a trial for each job"
                job = enqueue(
                    db,
                    self._settings,
                    sweep.workspace_id,
                    sweep.created_by,
                    choice.request,
                    choice.prepared,
                    Trial(sweep_id, choice.number),
                )
        except QuotaExceededError as error:
            log.info("sweep %s: waits: %s", sweep_id, error.detail)
            return False
        except ServiceError as error:
            self._complete(sweep_id, error)
            return False
        self._waker.wake(job.queue)
        return True

    def _choose(self, sweep_id: UUID) -> _Choice | None:
        """The next trial, if there is to be one. It may read the whole data set, so it is chosen
        before the transaction that adds it."""
        with self._database.transaction() as db:
            sweep = store.take(db, sweep_id)
            if sweep is None or not self._wants_more(db, sweep):
                return None
            require_room(
                db, db.get_one(Workspace, sweep.workspace_id), default_quota(self._settings)
            )
            number, _ = store.count_trials(db, sweep_id)
            suggestions = self._studies().open(db, sweep).suggestions()
        try:
            request = JOB_REQUESTS.validate_json(json.dumps(sweep.job))
            if number == 0 and sweep.sampler != "grid":
                prepared = self._prepare(sweep, request)
                space = SPACES.validate_json(json.dumps(sweep.space))
                as_it_is = values_at(prepared.config.model_dump(mode="json"), list(space))
                if lies_in(as_it_is, space):
                    return _Choice(number, as_it_is, request, prepared)
        except (PydanticValidationError, RnnError, ServiceError) as error:
            self._complete(sweep_id, error)
            return None
        refusal: Exception | None = None
        for values in suggestions:
            try:
                chosen = with_values(request, values)
                return _Choice(number, values, chosen, self._prepare(sweep, chosen))
            except (PydanticValidationError, RnnError) as error:
                refusal = error
            except ServiceError as error:
                refusal = error
                if error.status != 422:  # whatever the values: the data set is gone, for one
                    break
        self._complete(sweep_id, refusal)
        return None

    def _wants_more(self, db: Session, sweep: Sweep) -> bool:
        trials, unfinished = store.count_trials(db, sweep.id)
        if sweep.complete or trials >= sweep.max_trials or store.is_late(db, sweep):
            return False
        most = sweep.parallel
        if most is None:
            most = max(1, live_slots(db, live_seconds=self._settings.lease_seconds))
        return unfinished < most

    def _prepare(self, sweep: Sweep, request: JobRequest) -> Prepared:
        return prepare(self._database, self._artifacts, self._settings, sweep.workspace_id, request)

    def _complete(self, sweep_id: UUID, error: Exception | None) -> None:
        """Adds no more trials: all were tried, or no other one can be, and why. Those that run go
        on."""
        with self._database.transaction() as db:
            sweep = store.take(db, sweep_id)
            if sweep is None:
                return
            sweep.complete = True
            if error is not None:
                problem = error.problem if isinstance(error, ServiceError) else "validation-error"
                sweep.error = {"type": problem, "detail": reason(error)}
                log.warning("sweep %s: adds no more trials: %s", sweep_id, reason(error))

    # Ending

    def _finish(self, sweep_id: UUID) -> None:
        """Ends the sweep once all of its trials have ended; its best network is published."""
        self._announce(sweep_id)
        try:
            with self._database.transaction() as db:
                sweep = store.take(db, sweep_id)
                if sweep is not None and self._is_over(db, sweep):
                    self._publish(db, sweep)
        except ServiceError as error:  # another task took the model's name meanwhile
            with self._database.transaction() as db:
                sweep = store.take(db, sweep_id)
                if sweep is not None:
                    failure = {"type": error.problem, "detail": error.detail}
                    store.end(db, sweep, store.FAILED, failure)

    def _announce(self, sweep_id: UUID) -> None:
        """Has the network loaded that is about to be published, if any is."""
        with self._database.transaction() as db:
            sweep = store.take(db, sweep_id)
            best = store.best(db, sweep) if sweep and self._is_over(db, sweep) else None
            network = best.trained if best else None
        if network is None:
            return

        def announce_it(number: str) -> None:
            with self._database.transaction() as db:
                announce(db, network["path"], network["sha256"], number)

        roll_out(self._settings.database_url.get_secret_value(), announce_it)

    def _is_over(self, db: Session, sweep: Sweep) -> bool:
        trials, unfinished = store.count_trials(db, sweep.id)
        more = trials < sweep.max_trials and not sweep.complete and not store.is_late(db, sweep)
        return not (more or unfinished or store.untold(db, sweep.id))

    def _publish(self, db: Session, sweep: Sweep) -> None:
        best = store.best(db, sweep)
        if best is None:
            error = sweep.error or _why_none(sweep, store.last_ended(db, sweep))
            store.end(db, sweep, store.FAILED, error)
            log.warning("sweep %s: %s", sweep.id, error["detail"])
            return
        network = best.trained
        assert network is not None, "kept until now, as that of the best one"
        version = register_version(
            db,
            job=best,
            artifact_path=network["path"],
            artifact_sha256=network["sha256"],
            metrics=best.metrics,
            parameters=network["parameters"],
            code_version=network["code_version"],
            attempt=network["attempt"],
            serving=network.get("serving"),  # None: it was trained before there was a choice
        )
        store.forget_networks(db, [best.id])
        store.end(db, sweep, store.SUCCEEDED)
        log.info(
            "sweep %s: trial %s is %s:%s", sweep.id, best.trial, sweep.model_name, version.version
        )

    def _cancel_one(self) -> bool:
        """Cancels a trial that nobody waits for any more; whether there was one."""
        with self._database.transaction() as db:
            job = store.unwanted(db)
            if job is None:
                return False
            try:
                with db.begin_nested():
                    request_cancel(db, job.workspace_id, job.id)
            except ServiceError:  # it ended meanwhile
                log.debug("job %s has ended by itself", job.id)
            return True

    def _remove_networks(self) -> None:
        """Removes the networks of trials that are not the best one, and forgets them after."""
        with self._database.transaction() as db:
            paths = store.superseded(db, limit=REMOVED_AT_ONCE)
        for path in paths.values():
            shutil.rmtree(self._artifacts.absolute(path), ignore_errors=True)
        if paths:
            with self._database.transaction() as db:
                store.forget_networks(db, list(paths))

    def _studies(self) -> "Studies":
        if self._made_studies is None:
            from service.sweeps.study import Studies

            self._made_studies = Studies(self._database)
        return self._made_studies


def evaluation_number(epoch: float, each_epoch: int) -> int:
    """Which evaluation of a training it is that came after so many epochs, from 1.

    Trials are compared after as many evaluations, not steps: a choice such as the batch size
    changes how far a step goes. An evaluation that is repeated by a later attempt has its number
    again.
    """
    return math.floor(epoch * each_epoch + 1e-6)


def is_told(number: int) -> bool:
    """Whether the study hears of this evaluation: of long trainings ever fewer, so that no trial
    has more than some hundred values."""
    return number % (1 << max(0, number.bit_length() - 6)) == 0


def _why_none(sweep: Sweep, last: Job | None) -> dict[str, str]:
    detail = "no trial succeeded"
    if last is not None and last.state == JobState.SUCCEEDED:
        detail = f"no trial has a finite {sweep.metric}: the data leaves it undefined"
    elif last is not None and last.error is not None:
        detail += f"; the last one that failed: {last.error['detail']}"
    return {"type": "no-trial-succeeded", "detail": detail}
