import subprocess
import sys

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from service.db.tables import Sweep
from service.sweeps.study import Studies, Study
from tests.architecture.source import ROOT, modules
from tests.sweep_records import GRID, RATE, Bench


@pytest.fixture
def studies(bench: Bench) -> Studies:
    return Studies(bench.database)


def opened(db: Session, studies: Studies, bench: Bench, **changes: object) -> Study:
    sweep_id = bench.submit(**changes)
    return studies.open(db, db.get_one(Sweep, sweep_id))


def test_it_writes_in_the_transaction_of_the_caller(bench: Bench, studies: Studies) -> None:
    """So there is no trial without its job, and no job without its trial."""
    sweep_id = bench.submit()
    with bench.database.transaction() as db:
        study = studies.open(db, db.get_one(Sweep, sweep_id))
        assert study.add({RATE: 0.01, "architecture.cell": "gru"}) == 0
        db.rollback()
    with bench.database.transaction() as db:
        assert db.scalars(text("SELECT study_name FROM optuna.studies")).all() == []
        study = studies.open(db, db.get_one(Sweep, sweep_id))
        assert [study.add({RATE: 0.01, "architecture.cell": cell}) for cell in ("gru", "lstm")] == [
            0,
            1,
        ]
    with bench.database.transaction() as db:
        assert studies.open(db, db.get_one(Sweep, sweep_id)).is_running(1)


def test_its_tables_do_not_meet_ours(bench: Bench, studies: Studies) -> None:
    """Both have one named alembic_version."""
    with bench.database.transaction() as db:
        opened(db, studies, bench).add({RATE: 0.01, "architecture.cell": "gru"})
    with bench.database.transaction() as db:
        assert db.scalar(text("SHOW search_path")) == '"$user", public'
        assert db.scalar(text("SELECT version_num FROM alembic_version")).isdigit()
        ours = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
        assert db.scalar(text(f"{ours} AND table_name IN ('trials', 'studies')")) == 0


def test_the_tables_are_made_once(bench: Bench, studies: Studies) -> None:
    sweep_id = bench.submit()
    with bench.database.transaction() as db:
        studies.open(db, db.get_one(Sweep, sweep_id)).add({RATE: 0.01, "architecture.cell": "gru"})
    with bench.database.transaction() as db:
        again = Studies(bench.database).open(db, db.get_one(Sweep, sweep_id))
        assert again.is_running(0)


def test_suggestions_follow_what_was_found(bench: Bench, studies: Studies) -> None:
    """The nearer to 0.1, the better."""
    space = {RATE: {"type": "float", "low": 0.001, "high": 1.0}}
    with bench.database.transaction() as db:
        study = opened(db, studies, bench, space=space)
        misses = []
        for number in range(30):
            values = next(iter(study.suggestions()))
            misses.append(abs(float(str(values[RATE])) - 0.1))
            study.add(values)
            study.tell(number, "succeeded", misses[-1])
        assert sum(misses[10:]) / 20 < 0.5 * sum(misses[:10]) / 10
        assert study.importance() == {RATE: 1.0}


def test_what_mattered_is_told_apart(bench: Bench, studies: Studies) -> None:
    with bench.database.transaction() as db:
        study = opened(db, studies, bench, sampler="random")
        for number in range(12):
            values = next(iter(study.suggestions()))
            study.add(values)
            assert study.importance() is None or number >= 10
            study.tell(number, "succeeded", 1.0 if values["architecture.cell"] == "gru" else 2.0)
        importance = study.importance()
    assert importance is not None
    assert importance["architecture.cell"] > importance[RATE]
    assert sum(importance.values()) == pytest.approx(1)


def test_trials_that_are_all_alike_say_nothing_of_importance(
    bench: Bench, studies: Studies
) -> None:
    with bench.database.transaction() as db:
        study = opened(db, studies, bench, sampler="random")
        for number in range(12):
            study.add(next(iter(study.suggestions())))
            study.tell(number, "succeeded", 1.0)
        assert study.importance() is None


def test_suggestions_never_repeat_a_trial(bench: Bench, studies: Studies) -> None:
    with bench.database.transaction() as db:
        for sampler in ("tpe", "random", "grid"):
            study = opened(db, studies, bench, space=GRID, sampler=sampler)
            study.add({"architecture.num_layers": 2})
            found = [values["architecture.num_layers"] for values in study.suggestions()]
            assert sorted(found) == [1, 3]


def test_a_failed_trial_is_no_guide(bench: Bench, studies: Studies) -> None:
    with bench.database.transaction() as db:
        study = opened(db, studies, bench)
        study.add({RATE: 0.01, "architecture.cell": "gru"})
        study.tell(0, "failed")
        assert not study.is_running(0)
        assert next(iter(study.suggestions()))


def test_only_one_module_imports_optuna_and_nothing_imports_that_at_its_start() -> None:
    users = {each.name for each in modules() if "optuna" in each.imports()}
    assert users == {"service.sweeps.study"}
    code = (
        "import importlib, sys\n"
        "for name in ('service.app', 'service.cli', 'workers.app', 'workers.reaper'):\n"
        "    importlib.import_module(name)\n"
        "    if 'optuna' in sys.modules: sys.exit(name)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
