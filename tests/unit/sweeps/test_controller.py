from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from service.datasets.store import delete_dataset
from service.db.tables import JobEvent, ModelAlias, Workspace
from service.errors import ConflictError
from service.jobs import store as jobs
from service.registry.store import resolve
from service.sweeps import store
from service.sweeps.controller import evaluation_number, is_told
from tests.sweep_records import GRID, Bench


def test_the_best_of_the_trials_is_published(bench: Bench) -> None:
    sweep_id = bench.submit()
    bench.tick()
    assert bench.wakes.queues == ["cpu", "cpu"]
    folders = []
    for loss in (0.5, 0.2, 0.3, 0.4):
        folders.append(bench.finish(bench.begin(), loss))
        bench.tick()
    row = bench.row(sweep_id)
    assert (row.sweep.state, row.trials, row.version) == ("succeeded", {"succeeded": 4}, 1)
    assert row.sweep.finished_at is not None
    best = bench.trials(sweep_id)[1]
    assert row.best is not None
    assert row.best.id == best.id
    [version] = bench.versions()
    assert (version.job_id, version.attempt, version.parameters) == (best.id, 1, 7)
    assert version.metrics == {"loss": 0.2}
    assert version.config == best.config
    assert [folder.is_dir() for folder in folders] == [False, True, False, False]
    with bench.database.transaction() as db:
        assert resolve(db, bench.workspace_id, "demand")[1].id == version.id


def test_the_first_trial_is_the_job_as_it_is(bench: Bench) -> None:
    job = {"architecture": {"cell": "gru"}, "training": {"learning_rate": 0.02}}
    sweep_id = bench.submit(job)
    bench.tick()
    first, second = bench.trials(sweep_id)
    assert first.config["architecture"]["cell"] == "gru"
    assert first.config["training"]["learning_rate"] == 0.02
    assert second.config["training"]["learning_rate"] != 0.02


def test_a_job_outside_of_the_space_is_not_tried(bench: Bench) -> None:
    sweep_id = bench.submit({"training": {"learning_rate": 0.5}})
    bench.tick()
    rates = [job.config["training"]["learning_rate"] for job in bench.trials(sweep_id)]
    assert len(rates) == 2
    assert all(1e-4 <= rate <= 0.1 for rate in rates)


def test_no_more_trials_wait_or_run_than_may(bench: Bench) -> None:
    sweep_id = bench.submit(parallel=1)
    for expected in (["queued"], ["running"], ["succeeded", "queued"]):
        bench.tick()
        bench.tick()
        assert bench.states(sweep_id) == expected
        if expected == ["queued"]:
            attempt = bench.begin()
        elif expected == ["running"]:
            bench.finish(attempt, 1.0)


def test_all_slots_of_live_workers_are_used(bench: Bench) -> None:
    from uuid import uuid4

    from service.jobs.workers import register

    with bench.database.transaction() as db:
        for slots in (1, 2):
            register(db, uuid4(), hostname="h", pid=1, queue="cpu", slots=slots, devices={})
    sweep_id = bench.submit(parallel=None)
    bench.tick()
    assert bench.states(sweep_id) == ["queued"] * 3


def test_without_a_worker_one_trial_waits(bench: Bench) -> None:
    sweep_id = bench.submit(parallel=None)
    bench.tick()
    assert bench.states(sweep_id) == ["queued"]


def test_a_full_queue_makes_a_sweep_wait(bench: Bench) -> None:
    with bench.database.transaction() as db:
        workspace = db.get_one(Workspace, bench.workspace_id)
        workspace.quota = {"queued": 1}
    sweep_id = bench.submit()
    bench.tick()
    assert bench.states(sweep_id) == ["queued"]
    attempt = bench.begin()
    bench.tick()
    assert bench.states(sweep_id) == ["running", "queued"]
    bench.finish(attempt, 1.0)
    assert bench.row(sweep_id).sweep.state == "running"


def test_a_trial_that_fails_is_one_of_them(bench: Bench) -> None:
    sweep_id = bench.submit(max_trials=2)
    bench.tick()
    bench.fail(bench.begin())
    bench.finish(bench.begin(), 0.5)
    bench.tick()
    row = bench.row(sweep_id)
    assert (row.sweep.state, row.trials) == ("succeeded", {"failed": 1, "succeeded": 1})


def test_a_sweep_without_a_good_trial_fails_and_says_why(bench: Bench) -> None:
    sweep_id = bench.submit(max_trials=2)
    bench.tick()
    for _ in range(2):
        bench.fail(bench.begin(), "the loss was nan")
    bench.tick()
    row = bench.row(sweep_id)
    assert row.sweep.state == "failed"
    assert row.sweep.error is not None
    assert row.sweep.error["type"] == "no-trial-succeeded"
    assert "the loss was nan" in row.sweep.error["detail"]
    assert bench.versions() == []


def test_a_trial_without_the_metric_is_not_the_best(bench: Bench) -> None:
    """It is null where it is not finite."""
    sweep_id = bench.submit(max_trials=2)
    bench.tick()
    nothing = bench.finish(bench.begin(), None)
    bench.finish(bench.begin(), 9.0)
    bench.tick()
    row = bench.row(sweep_id)
    assert row.best is not None
    assert (row.sweep.state, row.best.trial) == ("succeeded", 1)
    assert not nothing.exists()


def test_a_metric_that_no_trial_has(bench: Bench) -> None:
    sweep_id = bench.submit(max_trials=1, metric="owa")
    bench.tick()
    bench.finish(bench.begin(), 0.5)
    bench.tick()
    error = bench.row(sweep_id).sweep.error
    assert error is not None
    assert error["detail"] == "no trial has a finite owa: the data leaves it undefined"


def test_a_metric_to_maximise(bench: Bench) -> None:
    sweep_id = bench.submit(max_trials=2)
    bench.change(sweep_id, direction="maximize")
    bench.tick()
    for value in (0.3, 0.7):
        bench.finish(bench.begin(), value)
    bench.tick()
    best = bench.row(sweep_id).best
    assert best is not None
    assert best.trial == 1


def test_of_equal_trials_the_earlier_one_is_the_best(bench: Bench) -> None:
    sweep_id = bench.submit(max_trials=2)
    bench.tick()
    attempts = [bench.begin(), bench.begin()]
    for attempt in reversed(attempts):
        bench.finish(attempt, 0.5)
        bench.tick()
    best = bench.row(sweep_id).best
    assert best is not None
    assert best.trial == 0


# Pruning


def test_the_worse_ones_are_pruned(bench: Bench) -> None:
    sweep_id = bench.submit(parallel=1)
    bench.tick()
    good = bench.begin()
    bench.evaluate(good, 0.9, 0.5, 0.3)
    bench.finish(good, 0.3)
    bench.tick()
    bad = bench.begin()
    bench.evaluate(bad, 0.8)
    bench.tick()
    assert bench.states(sweep_id) == ["succeeded", "running"]
    bench.evaluate(bad, 0.7, first=2)
    bench.tick()
    pruned = bench.trials(sweep_id)[1]
    assert pruned.cancel_requested_at is not None
    assert pruned.error == {
        "type": "pruned",
        "detail": "its loss was among the worse ones after 2 evaluations",
    }
    with bench.database.transaction() as db:
        said = select(JobEvent.data).where(JobEvent.job_id == pruned.id, JobEvent.type == "message")
        assert [data["text"] for data in db.scalars(said)] == ["pruned"]
    bench.evaluate(bad, 0.6, first=3)  # its last words
    bench.tick()
    assert bench.states(sweep_id) == ["succeeded", "running"]
    bench.stop(bad)
    bench.tick()
    assert bench.row(sweep_id).trials == {"succeeded": 1, "pruned": 1, "queued": 1}
    with bench.database.transaction() as db:
        states = db.scalars(text("SELECT state FROM optuna.trials ORDER BY number")).all()
    assert states == ["COMPLETE", "PRUNED", "RUNNING"]


def test_asha_keeps_the_best_quarter(bench: Bench) -> None:
    sweep_id = bench.submit(parallel=4, pruner="asha")
    bench.tick()
    attempts = [bench.begin() for _ in range(4)]
    for attempt, loss in zip(attempts, (0.5, 0.6, 0.4, 0.7), strict=True):
        bench.evaluate(attempt, loss)
        bench.tick()
    asked = [job.cancel_requested_at is not None for job in bench.trials(sweep_id)]
    assert asked == [False, True, False, True]


def test_without_a_pruner_nothing_is_pruned(bench: Bench) -> None:
    sweep_id = bench.submit(parallel=1, pruner="none")
    bench.tick()
    good = bench.begin()
    bench.evaluate(good, 0.1)
    bench.finish(good, 0.1)
    bench.tick()
    bench.evaluate(bench.begin(), 9.0)
    bench.tick()
    assert all(job.cancel_requested_at is None for job in bench.trials(sweep_id))


def test_an_evaluation_of_an_earlier_attempt_counts(bench: Bench) -> None:
    """Its worker was told to stop before anybody had looked at it."""
    sweep_id = bench.submit(parallel=1, max_trials=2)
    bench.tick()
    good = bench.begin()
    bench.evaluate(good, 0.1)
    bench.finish(good, 0.1)
    bench.tick()
    bad = bench.begin()
    bench.evaluate(bad, 0.5)
    bench.stop(bad)
    bad = bench.begin()
    bench.tick()
    bench.stop(bad)
    assert bench.states(sweep_id) == ["succeeded", "cancelled"]


def test_an_evaluation_that_a_later_attempt_repeats_is_told_once(bench: Bench) -> None:
    sweep_id = bench.submit(parallel=1)
    bench.tick()
    attempt = bench.begin()
    bench.evaluate(attempt, 0.5, 0.4)
    bench.tick()
    bench.stop(attempt)
    attempt = bench.begin()
    bench.evaluate(attempt, 0.45, first=2)
    bench.evaluate(attempt, 0.35, first=3)
    bench.tick()
    assert bench.states(sweep_id) == ["running"]
    with bench.database.transaction() as db:
        query = "SELECT step, intermediate_value FROM optuna.trial_intermediate_values ORDER BY 1"
        assert [tuple(row) for row in db.execute(text(query))] == [(1, 0.5), (2, 0.4), (3, 0.35)]


@pytest.mark.parametrize(
    ("steps_per_epoch", "each_epoch"), [(10, 4), (5, 4), (7, 1), (1000, 3), (3, 7)]
)
def test_evaluations_are_numbered_without_repetition(steps_per_epoch: int, each_epoch: int) -> None:
    """As `rnn.train` places them: at equal distances and at the end of each epoch."""
    interval = -(-steps_per_epoch // each_epoch)
    steps = [
        epoch * steps_per_epoch + step
        for epoch in range(5)
        for step in range(1, steps_per_epoch + 1)
        if step % interval == 0 or step == steps_per_epoch
    ]
    numbers = [evaluation_number(step / steps_per_epoch, each_epoch) for step in steps]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 5 * each_epoch


def test_of_long_trainings_ever_fewer_evaluations_are_told() -> None:
    assert all(is_told(number) for number in range(64))
    told = [number for number in range(1_000_000) if is_told(number)]
    assert len(told) < 600
    assert all(after < 1.1 * before for before, after in pairwise(told[64:]))


# Which trials there are


def test_a_grid_is_tried_whole(bench: Bench) -> None:
    sweep_id = bench.submit(space=GRID, sampler="grid", max_trials=20, parallel=5)
    bench.tick()
    layers = [job.config["architecture"]["num_layers"] for job in bench.trials(sweep_id)]
    assert sorted(layers) == [1, 2, 3]
    for _ in range(3):
        bench.finish(bench.begin(), 0.5)
    bench.tick()
    row = bench.row(sweep_id)
    assert (row.sweep.state, row.sweep.error) == ("succeeded", None)


def test_no_trial_repeats_another_one(bench: Bench) -> None:
    sweep_id = bench.submit(space=GRID, sampler="random", max_trials=20, parallel=10)
    bench.tick()
    layers = [job.config["architecture"]["num_layers"] for job in bench.trials(sweep_id)]
    assert sorted(layers) == [1, 2, 3]


def test_combinations_that_cannot_be_are_passed_over(bench: Bench) -> None:
    """Each of these is fine with the rest of the job as it is."""
    space = {
        "architecture.cell": {"type": "categorical", "choices": ["lstm", "gru"]},
        "architecture.peephole": {"type": "categorical", "choices": [True, False]},
    }
    sweep_id = bench.submit(space=space, sampler="grid", max_trials=20, parallel=10)
    bench.tick()
    parts = [job.config["architecture"] for job in bench.trials(sweep_id)]
    found = {(part["cell"], part["peephole"]) for part in parts}
    assert found == {("lstm", True), ("lstm", False), ("gru", False)}
    assert [job.trial for job in bench.trials(sweep_id)] == [0, 1, 2]


def test_a_space_without_a_single_trial_says_why(bench: Bench) -> None:
    job = {"architecture": {"cell": "slstm", "hidden_size": 8, "num_heads": 4}}
    space = {"architecture.num_heads": {"type": "categorical", "choices": [2, 4]}}
    sweep_id = bench.submit(job, space=space)
    bench.change(
        sweep_id, space={"architecture.num_heads": {"type": "categorical", "choices": [3]}}
    )
    bench.tick()
    row = bench.row(sweep_id)
    assert row.sweep.state == "failed"
    assert row.sweep.error is not None
    assert "not a multiple of num_heads 3" in row.sweep.error["detail"]


def test_the_seed_decides_what_is_tried(bench: Bench) -> None:
    def rates(seed: int) -> list[Any]:
        sweep_id = bench.submit(seed=seed, parallel=4)
        bench.tick()
        return [job.config["training"]["learning_rate"] for job in bench.trials(sweep_id)]

    assert rates(1) == rates(1)
    assert rates(1) != rates(2)


def test_the_importance_of_the_choices_is_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.sweeps import study

    monkeypatch.setattr(study, "IMPORTANCE_TRIALS", 3)
    sweep_id = bench.submit(space=GRID, sampler="grid", parallel=3)
    bench.tick()
    for loss in (0.1, 0.2):
        bench.finish(bench.begin(), loss)
    bench.tick()
    assert bench.row(sweep_id).sweep.importance is None
    bench.finish(bench.begin(), 0.3)
    bench.tick()
    assert bench.row(sweep_id).sweep.importance == {"architecture.num_layers": 1.0}


# Time, cancel, what disappears


def test_after_its_time_nothing_begins_and_what_runs_goes_on(bench: Bench) -> None:
    sweep_id = bench.submit(max_minutes=1, parallel=2)
    bench.tick()
    attempt = bench.begin()
    created = bench.row(sweep_id).sweep.created_at
    bench.change(sweep_id, created_at=created - timedelta(minutes=2))
    bench.tick()
    assert bench.states(sweep_id) == ["running", "cancelled"]
    bench.finish(attempt, 0.5)
    bench.tick()
    assert bench.row(sweep_id).sweep.state == "succeeded"
    assert len(bench.trials(sweep_id)) == 2


def test_a_cancelled_sweep_publishes_nothing(bench: Bench) -> None:
    sweep_id = bench.submit()
    bench.tick()
    done = bench.finish(bench.begin(), 0.1)
    bench.tick()
    running = bench.begin()
    cancel(bench, sweep_id)
    cancel(bench, sweep_id)
    bench.tick()
    assert bench.states(sweep_id) == ["succeeded", "running", "cancelled"]
    bench.stop(running)
    bench.tick()
    row = bench.row(sweep_id)
    assert (row.sweep.state, row.version) == ("cancelled", None)
    assert row.trials == {"succeeded": 1, "cancelled": 2}
    assert not done.exists()
    assert bench.versions() == []


def test_a_sweep_that_has_ended_is_not_cancelled(bench: Bench) -> None:
    sweep_id = bench.submit(max_trials=1)
    bench.tick()
    bench.finish(bench.begin(), 0.1)
    bench.tick()
    with pytest.raises(ConflictError, match="succeeded"):
        cancel(bench, sweep_id)


def test_a_data_set_that_is_gone_ends_it_with_what_there_is(bench: Bench) -> None:
    sweep_id = bench.submit(parallel=1)
    bench.tick()
    bench.finish(bench.begin(), 0.4)
    with bench.database.transaction() as db:
        delete_dataset(db, bench.workspace_id, bench.dataset_id)
    bench.tick()
    row = bench.row(sweep_id)
    assert (row.sweep.state, row.version) == ("succeeded", 1)
    assert row.sweep.error == {"type": "not-found", "detail": "There is no such data set."}


def test_a_name_that_another_task_took_fails_it(bench: Bench) -> None:
    from service.db.tables import Model

    sweep_id = bench.submit(max_trials=1)
    bench.tick()
    with bench.database.transaction() as db:
        db.add(Model(workspace_id=bench.workspace_id, name="demand", task="text-generation"))
    bench.finish(bench.begin(), 0.4)
    bench.tick()
    row = bench.row(sweep_id)
    assert row.sweep.state == "failed"
    assert row.sweep.error is not None
    assert row.sweep.error["type"] == "model-task-mismatch"


def test_a_trial_is_not_retried(bench: Bench) -> None:
    from service.jobs.quotas import UNLIMITED

    bench.submit()
    bench.tick()
    attempt = bench.begin()
    bench.fail(attempt)
    with bench.database.transaction() as db, pytest.raises(ConflictError, match="is a trial"):
        jobs.retry(db, bench.workspace_id, attempt.job_id, {}, defaults=UNLIMITED)


def test_a_trial_publishes_nothing_by_itself(bench: Bench) -> None:
    bench.submit()
    bench.tick()
    attempt = bench.begin()
    bench.finish(attempt, 0.1)
    with bench.database.transaction() as db:
        assert db.scalars(select(ModelAlias)).all() == []
        events = jobs.events_after(db, attempt.job_id, 0, limit=10)
    assert events[-1].data == {
        "from": "running",
        "to": "succeeded",
        "reason": "finished",
        "metrics": {"loss": 0.1},
    }


def test_one_sweep_that_breaks_holds_up_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken, fine = bench.submit(), bench.submit()
    take = store.take

    def take_one(db: Any, sweep_id: UUID) -> Any:
        if sweep_id == broken:
            raise RuntimeError("a defect")
        return take(db, sweep_id)

    monkeypatch.setattr(store, "take", take_one)
    bench.tick()
    assert bench.states(fine) == ["queued", "queued"]
    assert str(broken) in caplog.text


def cancel(bench: Bench, sweep_id: UUID) -> None:
    with bench.database.transaction() as db:
        store.cancel(db, bench.workspace_id, sweep_id)
