"""A controller that dies at any point loses nothing and doubles nothing."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from service.db.engine import Database
from service.db.tables import Deployment, JobEvent
from service.sweeps import controller, store
from service.sweeps.study import Study
from tests.sweep_records import Bench, Wakes

# What a controller does, in the order in which it does it. It dies before, and right after.
POINTS: dict[str, Any] = {
    "take": store,
    "add": Study,
    "enqueue": controller,
    "wake": Wakes,
    "report": Study,
    "told": store,
    "request_cancel": controller,
    "tell": Study,
    "register_version": controller,
    "end": store,
    "rmtree": shutil,
    "forget_networks": store,
}


class Died(BaseException):
    """Nobody catches it, as nobody catches SIGKILL."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_step(bench: Bench, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    """The first time that it comes there."""
    died_at: set[str] = set()

    def deadly(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if name in died_at:
                return real(*args, **options)
            died_at.add(name)
            if after:
                real(*args, **options)
            raise Died

        return call

    for name, owner in POINTS.items():
        monkeypatch.setattr(owner, name, deadly(name, getattr(owner, name)))
    run_sweep(bench, bench.tick)
    assert died_at == POINTS.keys()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_commit(bench: Bench, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    """Of a tick at the first one, of the next tick at the second one, and so on."""
    real = Database.transaction
    died_at: list[int] = []
    commits = 0

    @contextmanager
    def deadly(database: Database) -> Iterator[Session]:
        nonlocal commits
        with real(database) as db:
            yield db
            commits += 1
            dies = commits > len(died_at)
            if dies and not after:
                died_at.append(commits)
                raise Died
        if dies:
            died_at.append(commits)
            raise Died

    def tick() -> None:
        nonlocal commits
        commits = 0
        with monkeypatch.context() as patch:
            patch.setattr(Database, "transaction", deadly)
            bench.tick()

    run_sweep(bench, tick)
    assert len(died_at) > 5


def run_sweep(bench: Bench, tick: Callable[[], None]) -> None:
    """A trial, a better one and one that is pruned; then a look at all that is left of them."""

    def look() -> None:
        """Until a tick comes to its end; each begins as a new process would."""
        for _ in range(50):
            bench.controller = bench.make_controller()
            try:
                tick()
            except Died:
                continue
            return
        raise AssertionError("it never gets to the end")

    sweep_id = bench.submit(max_trials=3, parallel=1)
    look()
    folders = []
    for loss in (0.4, 0.3):
        attempt = bench.begin()
        bench.evaluate(attempt, 0.5, loss)
        look()
        folders.append(bench.finish(attempt, loss))
        look()
    bad = bench.begin()
    bench.evaluate(bad, 0.6, 0.5)
    look()
    bench.stop(bad)
    look()

    assert bench.begin_if_any() is None
    trials = bench.trials(sweep_id)
    assert [job.trial for job in trials] == [0, 1, 2]
    assert len({str(job.config) for job in trials}) == 3
    row = bench.row(sweep_id)
    assert (row.sweep.state, row.trials) == ("succeeded", {"succeeded": 2, "pruned": 1})
    assert [version.job_id for version in bench.versions()] == [trials[1].id]
    assert [folder.is_dir() for folder in folders] == [False, True]
    assert all(job.trained is None for job in trials)
    with bench.database.transaction() as db:
        assert len(db.scalars(select(Deployment)).all()) == 1
        said = select(JobEvent.data).where(JobEvent.type == "message")
        assert [data["text"] for data in db.scalars(said)] == ["pruned"]
        states = db.scalars(text("SELECT state FROM optuna.trials ORDER BY number")).all()
        values = db.scalars(text("SELECT count(*) FROM optuna.trial_intermediate_values")).one()
        assert (states, values) == (["COMPLETE", "COMPLETE", "PRUNED"], 6)
