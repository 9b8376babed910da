"""What Optuna keeps of a sweep and advises. The only module that imports it: half a second, which
only a process that runs sweeps pays.

Its tables lie in our PostgreSQL, in the schema `optuna`. It writes through the caller's connection,
so a trial and its job are there together or not at all, whatever dies in between.
"""

import json
import logging
import random
import warnings
from collections.abc import Iterator, Sequence
from typing import Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import text
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from service.db.engine import Database
from service.db.tables import Sweep
from service.sweeps.space import SPACES, Choices, Dimension, FloatRange, Values, grid

Outcome = Literal["succeeded", "pruned", "failed"]

SCHEMA = "optuna"
LOCK = 0x5265_704F  # one process makes the tables
MOST_DRAWS = 100  # of one trial's parameters, where others are refused or were tried before
PRUNED_AFTER = 5  # trials, or a quarter of a small sweep, that run to their end before
IMPORTANCE_TRIALS = 10
GOOD_SHARE = 0.25  # of the trials: what an important choice is important for

_OUTCOMES = {"pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class Studies:
    """Where the studies of all sweeps are kept; for one thread."""

    def __init__(self, database: Database) -> None:
        """Makes the tables, the first time."""
        optuna.logging.set_verbosity(logging.WARNING)
        optuna.logging.disable_default_handler()
        optuna.logging.enable_propagation()
        with database.transaction() as db:
            _lock(db)
            db.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        with database.transaction() as db:
            _lock(db)
            self._storage = RDBStorage(
                database.engine.url.render_as_string(hide_password=False),
                engine_kwargs={
                    "poolclass": NullPool,
                    "connect_args": {"options": f"-c search_path={SCHEMA}"},
                },
            )

    def open(self, db: Session, sweep: Sweep) -> "Study":
        """The sweep's study, as a part of the caller's transaction; new where there is none."""
        search_path = f"SELECT set_config('search_path', '{SCHEMA},' || "
        db.execute(text(f"{search_path} current_setting('search_path'), true)"))
        sessions = sessionmaker(db.connection(), join_transaction_mode="create_savepoint")
        self._storage.scoped_session = scoped_session(sessions)
        name = str(sweep.id)
        sampler, pruner = optuna.samplers.RandomSampler(), _pruner(sweep)
        try:
            study = optuna.load_study(
                study_name=name, storage=self._storage, sampler=sampler, pruner=pruner
            )
        except KeyError:
            study = optuna.create_study(
                study_name=name,
                storage=self._storage,
                sampler=sampler,
                pruner=pruner,
                direction=StudyDirection[sweep.direction.upper()],
            )
        return Study(study, self._storage, sweep)


class Study:
    """The trials of one sweep, for as long as the transaction that it was opened in."""

    def __init__(self, study: optuna.Study, storage: RDBStorage, sweep: Sweep) -> None:
        self._study = study
        self._storage = storage
        self._sweep = sweep
        self._space = SPACES.validate_json(json.dumps(sweep.space))
        self._distributions = {path: _distribution(each) for path, each in self._space.items()}

    def suggestions(self) -> Iterator[Values]:
        """What the next trial may try, the best guess first and nothing that was tried before.

        It remembers the trials as they are now, so it may be read after the transaction.
        """
        trials = self._study.get_trials(deepcopy=False)
        return self._untried(trials)

    def add(self, values: Values) -> int:
        """Records a trial that tries these; returns its number, from 0 without a gap."""
        self._study.enqueue_trial(dict(values))
        return self._study.ask(self._distributions).number

    def is_running(self, number: int) -> bool:
        """Whether its outcome was not told yet."""
        return self._trial(number).state is TrialState.RUNNING

    def report(self, number: int, step: int, value: float) -> bool:
        """Tells the metric of a running trial after its evaluation `step`; whether to prune it.

        A step that was told before stays as it was.
        """
        if step in self._trial(number).intermediate_values:
            return False
        trial = optuna.Trial(self._study, self._trial_id(number))
        trial.report(value, step)
        return trial.should_prune()

    def tell(self, number: int, outcome: Outcome, value: float | None = None) -> None:
        """Tells how a running trial ended; `value` where it succeeded."""
        if outcome == "succeeded":
            self._study.tell(number, value)
        else:
            self._study.tell(number, state=_OUTCOMES[outcome])

    def importance(self) -> dict[str, float] | None:
        """How much each choice decided whether a trial was among the good ones, as shares of 1.

        PED-ANOVA (Watanabe et al. 2023). None: too few trials, or no difference between them.
        """
        values = [trial.value for trial in self._trials(TrialState.COMPLETE)]
        if len(values) < IMPORTANCE_TRIALS or len(set(values)) == 1:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of ties that leave no trial that is not good
            return get_param_importances(
                self._study, evaluator=PedAnovaImportanceEvaluator(target_quantile=GOOD_SHARE)
            )

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _trial_id(self, number: int) -> int:
        study_id = self._storage.get_study_id_from_name(self._study.study_name)
        return self._storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def _trial(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._trial_id(number))

    def _untried(self, trials: Sequence[FrozenTrial]) -> Iterator[Values]:
        tried = {_key(trial.params) for trial in trials}
        for values in self._drawn(trials):
            if _key(values) not in tried:
                tried.add(_key(values))
                yield values

    def _drawn(self, trials: Sequence[FrozenTrial]) -> Iterator[Values]:
        """From the seed and what is known, so a tick that is repeated draws the same again."""
        if self._sweep.sampler == "grid":
            yield from grid(self._space, self._sweep.seed)
            return
        for draw in range(MOST_DRAWS):
            seed = random.Random(f"{self._sweep.seed}/{len(trials)}/{draw}").getrandbits(32)  # noqa: S311
            sampler: optuna.samplers.BaseSampler = optuna.samplers.TPESampler(seed=seed)
            if self._sweep.sampler == "random":
                sampler = optuna.samplers.RandomSampler(seed=seed)
            twin = optuna.create_study(direction=self._study.direction, sampler=sampler)
            twin.add_trials(trials)
            yield twin.ask(self._distributions).params


def _key(values: Values) -> str:
    return json.dumps(values, sort_keys=True)


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.choices)
    if isinstance(dimension, FloatRange):
        return FloatDistribution(
            dimension.low, dimension.high, log=dimension.log, step=dimension.step
        )
    return IntDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def _pruner(sweep: Sweep) -> optuna.pruners.BasePruner:
    match sweep.pruner:
        case "median":
            before = min(PRUNED_AFTER, max(1, sweep.max_trials // 4))
            return optuna.pruners.MedianPruner(n_startup_trials=before)
        case "asha":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=1)
    return optuna.pruners.NopPruner()


def _lock(db: Session) -> None:
    db.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
