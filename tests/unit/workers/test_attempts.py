"""How a watch handles the reports of a trainer that is played by the test."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from uuid import UUID

import pytest
from sqlalchemy import update

from rnn.events import Serving
from service.artifacts.store import ArtifactStore
from service.db.engine import Database
from service.db.tables import Dataset, Job
from service.jobs import endings
from service.jobs.logs import log_path
from service.jobs.statistics import count_jobs
from service.jobs.wake import Waker
from service.log_files import read_end
from service.settings import Settings
from tests.job_records import events_of, make_dataset, make_job, make_workspace, reread, take
from workers import attempts
from workers.attempts import AttemptWatch
from workers.devices import Devices
from workers.messages import (
    Alarm,
    Diagnostics,
    Divided,
    Evaluation,
    LabelSample,
    Measured,
    Message,
    Report,
    Samples,
    Stop,
    TrainingFinished,
    TrainingStarted,
)
from workers.room import Room
from workers.trainer_process import TrainerGoneError, TrainerProcess

SERVING = Serving("int8", {"float32": 0.5, "int8": 0.5}, positions=9, max_loss_increase=0.001)


class Trainer(TrainerProcess):
    """Reports what it is given, one batch each time it is listened to."""

    def __init__(self, *batches: list[Report], before: Callable[[], None] | None = None) -> None:
        self.batches = list(batches)
        self.closed_for_commands = False
        self.stops: list[Message] = []
        self._before = before

    def send(self, message: Message) -> None:
        if isinstance(message, Stop):
            self.stops.append(message)
            if self.closed_for_commands:
                raise TrainerGoneError("the trainer takes no commands any more")

    def receive(self, timeout_seconds: float) -> list[Report]:  # noqa: ARG002
        if self._before is not None:
            self._before()
        if not self.batches:
            raise TrainerGoneError("the trainer ended")
        return self.batches.pop(0)

    def kill(self) -> None:
        pass

    def close(self) -> str:
        return "its process ended with exit code 0"


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(attempts, "time", clock)
    return clock


@pytest.fixture
def room(settings: Settings, database: Database) -> Room:
    artifacts = ArtifactStore(settings.artifact_dir)
    artifacts.prepare()
    return Room(
        worker_id=UUID(int=1),
        settings=settings,
        database=database,
        artifacts=artifacts,
        waker=cast(Waker, SimpleNamespace(wake=lambda _queue: True)),
        devices=Devices("cpu", (), {}),
        threads=1,
        code_version="1",
    )


def watch(room: Room, trainer: Trainer) -> AttemptWatch:
    """Of the first attempt of a new job."""
    with room.database.transaction() as db:
        make_job(db, make_dataset(db, make_workspace(db).id))
        return AttemptWatch(room, take(db), trainer)


def finished(path: Path) -> TrainingFinished:
    return TrainingFinished(
        step=9,
        metrics={"loss": 0.5},
        serving=SERVING,
        reason="max_steps",
        path=path,
        sha256="a" * 64,
    )


def job_of(watch: AttemptWatch) -> Job:
    with watch._room.database.transaction() as db:
        return reread(db, watch._attempt.job_id)


def kinds(watch: AttemptWatch) -> list[str]:
    """What was written of the training itself."""
    with watch._room.database.transaction() as db:
        events = events_of(db, watch._attempt.job_id)
    return [event.data.get("kind", "text") for event in events if event.type != "state"]


STARTED = TrainingStarted(at="t", parameters=1, total_steps=9, first_step=0)


def measured(step: int) -> Measured:
    values = dict.fromkeys(
        ["loss", "learning_rate", "gradient_norm", "steps_per_second", "timesteps_per_second"]
    )
    return Measured.model_validate(
        {"at": "t", "step": step, "total_steps": 9, "epoch": 0.0, "timesteps": 64, **values}
    )


def evaluation(step: int) -> Evaluation:
    return Evaluation(at="t", step=step, epoch=0.0, metrics={"loss": step}, improved=True)


def test_reports_are_gathered_but_the_first_step_is_written_at_once(
    room: Room, clock: Clock
) -> None:
    """Each report was a transaction of its own: nothing moved the time of the next write on."""
    watched = watch(room, Trainer())

    def take(report: Report) -> list[str]:
        watched._take(report)
        watched._write_buffered()
        return kinds(watched)

    assert take(STARTED) == ["text"]
    assert take(measured(1)) == ["text", "step"]
    assert take(evaluation(1)) == ["text", "step"]
    clock.now += attempts.WRITE_SECONDS
    assert take(measured(2)) == ["text", "step", "evaluation", "step"]
    with room.database.transaction() as db:
        assert count_jobs(db).trained_timesteps == 128


def test_an_outage_cannot_fill_the_memory_with_evaluations(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only steps were counted. The last evaluation's metrics are kept all the same."""
    monkeypatch.setattr(attempts, "MAX_BUFFERED_EVENTS", 3)
    watched = watch(room, Trainer())
    for step in range(10):
        watched._take(evaluation(step))
    watched._write_buffered(at_once=True)
    assert kinds(watched) == ["evaluation"] * 3
    assert job_of(watched).metrics == {"loss": 9}


def alarm(kind: str, layer: int | None, step: int = 1) -> Alarm:
    return Alarm.model_validate(
        {"at": "t", "step": step, "kind": kind, "layer": layer, "message": "m", "remedy": "r"}
    )


def look(*alerts: tuple[str, int | None]) -> Diagnostics:
    return Diagnostics.model_validate({"at": "t", "step": 1, "layers": [], "alerts": alerts})


def test_the_job_shows_the_alerts_that_hold(room: Room) -> None:
    watched = watch(room, Trainer())

    def holding(*reports: Report) -> list[tuple[str, int | None]]:
        for report in reports:
            watched._take(report)
        watched._write_buffered(at_once=True)
        return [(each["kind"], each["layer"]) for each in job_of(watched).progress["alerts"]]

    assert holding(STARTED, alarm("vanishing", 1), alarm("diverged", None)) == [
        ("vanishing", 1),
        ("diverged", None),
    ]
    assert holding(measured(2), look(("vanishing", 1))) == [("vanishing", 1)]
    assert holding(look()) == []
    with room.database.transaction() as db:
        events = events_of(db, watched._attempt.job_id)
    told = [event.data for event in events if event.type == "alert"]
    assert [(each["kind"], each["remedy"]) for each in told] == [
        ("vanishing", "r"),
        ("diverged", "r"),
    ]
    assert kinds(watched).count("diagnostics") == 2


def test_an_attempt_that_starts_anew_forgets_the_alerts_and_a_resumed_one_keeps_them(
    room: Room,
) -> None:
    watched = watch(room, Trainer())
    watched._take(alarm("saturated", 2))
    watched._take(STARTED.model_copy(update={"first_step": 5}))
    watched._write_buffered(at_once=True)
    assert len(job_of(watched).progress["alerts"]) == 1
    watched._take(STARTED)
    watched._write_buffered(at_once=True)
    assert job_of(watched).progress["alerts"] == []


def test_a_sample_is_an_event_and_an_outage_does_not_pile_them_up(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = watch(room, Trainer())
    shown = LabelSample(text="\N{REPLACEMENT CHARACTER}", label="a", prediction="b", score=0.5)
    monkeypatch.setattr(attempts, "MAX_BUFFERED_EVENTS", 2)
    for step in (1, 2, 3):
        watched._take(Samples(at="t", step=step, epoch=0.5, samples=[shown]))
    watched._write_buffered(at_once=True)
    with room.database.transaction() as db:
        told = [each for each in events_of(db, watched._attempt.job_id) if each.type == "sample"]
    assert [event.data["step"] for event in told] == [1, 2]
    assert told[0].data == {"at": "t", "step": 1, "epoch": 0.5, "samples": [shown.model_dump()]}


def test_batches_that_are_taken_in_parts_are_a_message(room: Room) -> None:
    watched = watch(room, Trainer())
    watched._take(Divided(at="t", step=4, parts=2, rows=16, reason="no memory"))
    watched._write_buffered(at_once=True)
    with room.database.transaction() as db:
        told = events_of(db, watched._attempt.job_id)[-1]
    assert (told.type, told.data["level"], told.data["reason"]) == (
        "message",
        "warning",
        "no memory",
    )
    assert "in step 4: batches are taken in 2 parts of at most 16 rows" in told.data["text"]


def test_the_log_of_an_attempt_is_kept_short(room: Room) -> None:
    room = replace(room, settings=room.settings.model_copy(update={"max_log_bytes": 2**16}))
    logs: list[Path] = []
    size_before: list[int] = []

    def chatter() -> None:
        with logs[0].open("ab") as log:
            size_before.append(log.tell())
            log.write(b"a warning that comes in every step\n" * 1_500)

    watched = watch(room, Trainer([STARTED], [], [], before=chatter))
    logs.append(log_path(room.artifacts, watched._attempt.job_id, 1))
    logs[0].parent.mkdir(parents=True)
    watched.run()
    assert size_before == [0, 0, 0, 0]
    assert sum(path.stat().st_size for path in logs[0].parent.iterdir()) <= 2**16
    assert read_end(logs[0], 1_000)[0].endswith("in every step\n")


def test_a_model_that_is_finished_in_the_moment_of_a_drain_is_published(room: Room) -> None:
    """The stop met a closed pipe, and the last report was never read."""
    path = room.artifacts.root / "jobs" / "x" / "attempt-1" / "model"
    last = finished(path)
    trainer = Trainer([STARTED], [], [last], before=room.stopping.set)
    trainer.closed_for_commands = True
    watched = watch(room, trainer)
    watched.run()
    assert trainer.stops == [Stop(save=True)]
    assert job_of(watched).state == "succeeded"


def test_a_cancel_after_a_drain_finds_the_pipe_closed(room: Room) -> None:
    trainer = Trainer()
    trainer.closed_for_commands = True
    watched = watch(room, trainer)
    watched._stop(save=True, grace_seconds=20)
    watched._stop(save=False, grace_seconds=1)
    assert trainer.stops == [Stop(save=True), Stop(save=False)]


def test_the_end_of_a_job_removes_the_checkpoints_of_its_attempts(room: Room) -> None:
    """Not those of a later one: somebody may have had the job tried again."""
    path = room.artifacts.root / "jobs" / "x" / "attempt-2" / "model"
    last = finished(path)
    with room.database.transaction() as db:
        make_job(db, make_dataset(db, make_workspace(db).id))
        endings.release(db, take(db).attempt)
        watched = AttemptWatch(room, take(db), Trainer([last]))
        db.execute(update(Job).values(checkpoint={"step": 1}))
    job_id = watched._attempt.job_id
    folders = [room.artifacts.checkpoints_dir(job_id, attempt) for attempt in (1, 2, 3)]
    for folder in folders:
        (folder / "step-1").mkdir(parents=True)
    watched.run()
    assert job_of(watched).checkpoint is None
    assert [folder.is_dir() for folder in folders] == [False, False, True]


@pytest.mark.parametrize(("answers", "woken"), [(True, ["cpu", "gpu"]), (False, ["cpu"])])
def test_the_end_of_a_job_wakes_workers_for_those_that_waited(
    room: Room, answers: bool, woken: list[str]
) -> None:
    """Each call takes a while where Redis does not answer: the first one is enough."""
    rung: list[str] = []

    def wake(queue: str) -> bool:
        rung.append(queue)
        return answers

    room.waker.wake = wake  # type: ignore[method-assign,assignment]
    path = room.artifacts.root / "jobs" / "x" / "attempt-1" / "model"
    last = finished(path)
    watched = watch(room, Trainer([last]))
    with room.database.transaction() as db:
        job = watched._claim.job
        dataset = db.get_one(Dataset, job.dataset_id)
        for queue in ("cpu", "gpu"):
            make_job(db, dataset, queue=queue, after=[job.id])
    watched.run()
    assert rung == woken


def test_a_network_is_loaded_before_it_is_published(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = watch(room, Trainer([finished(room.artifacts.absolute("model"))]))
    states: list[str] = []

    def rolled_out(database_url: str, announce: Callable[[str], None]) -> None:
        assert database_url == room.settings.database_url.get_secret_value()
        announce("7")
        states.append(job_of(watched).state)

    monkeypatch.setattr(attempts, "roll_out", rolled_out)
    watched.run()
    assert (states, job_of(watched).state) == (["running"], "succeeded")
