"""One run: users at work, faults at the moments that a seed chooses, then everything put right."""

import heapq
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.faults import recorder
from benchmarks.faults.faults import KINDS, Card, deck
from benchmarks.faults.history import History, Record
from benchmarks.faults.plant import Plant
from benchmarks.faults.users import Load, Users
from benchmarks.faults.witness import Witness
from service.db.engine import Database, make_engine
from service.settings import Settings

TICK_SECONDS = 0.05
SAY_SECONDS = 10.0
AGAIN_SECONDS = 0.5  # until what was not possible is tried again


class Plan(NamedTuple):
    """What is to happen; `settings` are those of the service that are not the defaults.

    Attributes:
        pause_seconds: from a fault to the next one, on average.
        patience_seconds: for the jobs to end once everything is put right.
    """

    load: Load
    faults: int
    seed: int
    workers: int
    pause_seconds: float
    patience_seconds: float
    settings: Mapping[str, object]


class Run(NamedTuple):
    settings: Settings
    history: History
    faults: Counter[str]
    pairs: int
    not_possible: list[str]  # kinds of faults that this machine does not allow
    seconds: float


def run(plan: Plan, folder: Path, say: Callable[[str], None]) -> Run:
    """Leaves the servers' data and the logs in `folder`, which should be a short path."""
    witness = Witness()
    plant = Plant(folder, witness, plan.settings, workers=plan.workers)
    try:
        plant.start()
        database = Database(make_engine(plant.settings))
        recorder.install(database)
        plant.start_places()
        users = Users(plant.address, plant.key, witness, plan.load, plan.seed)
        users.start()
        try:
            storm = Storm(plan, plant, users, witness, say)
            storm.run()
        finally:
            users.stop()
        found: list[Record] = [
            *witness.records(),
            *witness.trainers(plant.notes),
            *recorder.records(database, witness.began_epoch),
        ]
        database.close()
    finally:
        plant.stop()
    possible = [kind.name for kind in storm.kinds]
    missing = [kind.name for kind in KINDS if kind.name not in possible]
    return Run(plant.settings, History(found), storm.count, storm.pairs, missing, witness.now())


class Storm:
    """The main thread of a run: it starts processes, so it alone may break them and heal them."""

    def __init__(
        self, plan: Plan, plant: Plant, users: Users, witness: Witness, say: Callable[[str], None]
    ) -> None:
        self.kinds = [kind for kind in KINDS if kind.is_possible(plant)]
        self.count: Counter[str] = Counter()
        self.pairs = 0
        self._plan, self._plant, self._users = plan, plant, users
        self._witness, self._say = witness, say
        self._dice = random.Random(plan.seed)
        self._deck = deck(plan.faults, self._dice, self.kinds)
        self._agenda: list[tuple[float, int, Callable[[], bool]]] = []
        self._numbers = itertools.count(1)
        self._said_at = 0.0

    def run(self) -> None:
        next_at = self._witness.now() + self._plan.pause_seconds
        while self._deck:
            self._tick()
            if self._witness.now() < next_at or not self._is_time():
                continue
            self._strike()
            while self._deck and self._deck[0].with_the_last:
                self._strike()
                self.pairs += 1
            next_at = self._witness.now() + self._dice.uniform(0.5, 1.5) * self._plan.pause_seconds
        until: float | None = None
        while self._agenda or not self._users.done:
            self._tick()
            if until is None and self._users.all_submitted:
                until = self._witness.now() + self._plan.patience_seconds
            if until is not None and self._witness.now() > until:
                self._say("not every job has ended, or not every fault")
                return

    def _is_time(self) -> bool:
        """Whether as large a share of the jobs is there as of the faults."""
        jobs, faults = self._plan.load.jobs, self._plan.faults
        return self.count.total() * jobs < self._users.submitted * faults

    def _tick(self) -> None:
        """Puts right what is due, and waits a moment."""
        now = self._witness.now()
        while self._agenda and self._agenda[0][0] <= now:
            _, number, heal = heapq.heappop(self._agenda)
            if not heal():
                heapq.heappush(self._agenda, (now + AGAIN_SECONDS, number, heal))
        if now > self._said_at + SAY_SECONDS:
            self._said_at = now
            self._say(
                f"{now:6.0f} s: {self._users.submitted} jobs submitted, {self._users.ended} ended,"
                f" {self.count.total()} of {self._plan.faults} faults"
            )
        time.sleep(TICK_SECONDS)

    def _strike(self) -> None:
        """The first fault of the deck that is possible now."""
        for place, card in enumerate(self._deck):
            if self._inflict(card):
                del self._deck[place]
                return

    def _inflict(self, card: Card) -> bool:
        at, kind = self._witness.now(), card.kind
        injury = kind.inflict(self._plant, random.Random(card.seed))
        if injury is None:
            return False
        number = next(self._numbers)
        self.count[kind.name] += 1
        self._witness.note("fault", at=at, kind=kind.name, number=number, target=injury.target)

        def heal() -> bool:
            healed = injury.heal()
            if healed:
                self._witness.note("healed", kind=kind.name, number=number, target=injury.target)
            return healed

        heapq.heappush(self._agenda, (self._witness.now() + injury.seconds, number, heal))
        return True


def to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
