from sqlalchemy.orm import Session

from service.db.tables import Dataset, JobAttempt
from service.jobs.progress import (
    Checkpoint,
    record_checkpoint,
    record_progress,
    record_resumption,
)
from service.jobs.statistics import count_jobs
from service.jobs.transitions import Attempt, NewEvent
from tests.job_records import events_of, make_job, reread, take


def test_a_batch_is_numbered_without_holes(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    for batch in range(3):
        events = [NewEvent("metrics", {"step": 10 * batch + i}) for i in range(4)]
        record_progress(db, attempt, progress={"step": batch}, metrics=None, events=events)
    found = events_of(db, attempt.job_id)
    assert [event.seq for event in found] == list(range(1, 15))
    steps = [event.data["step"] for event in found[2:]]
    assert steps == [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]
    assert reread(db, attempt.job_id).last_event_seq == 14


def test_metrics_stay_until_the_next_evaluation(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    record_progress(db, attempt, progress={"step": 1}, metrics={"mase": 0.9}, events=[])
    record_progress(db, attempt, progress={"step": 2}, metrics=None, events=[])
    row = reread(db, attempt.job_id)
    assert (row.progress, row.metrics) == ({"step": 2}, {"mase": 0.9})


def test_timesteps_are_summed_over_all_jobs(db: Session, dataset: Dataset) -> None:
    before = count_jobs(db).trained_timesteps
    for attempt in (started(db, dataset), started(db, dataset)):
        for timesteps in (30, 0, 12):
            progress = {"step": timesteps}
            record_progress(
                db, attempt, progress=progress, metrics=None, events=[], timesteps=timesteps
            )
    assert count_jobs(db).trained_timesteps == before + 84


def test_two_checkpoints_are_kept(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    obsolete = [save(db, attempt, step) for step in (10, 20, 30, 40)]
    assert obsolete == [None, None, "step-10", "step-20"]
    kept = reread(db, attempt.job_id).checkpoint
    assert kept is not None
    assert (kept["step"], kept["previous"]["step"], kept["previous"]["previous"]) == (40, 30, None)
    saved = [event.data for event in events_of(db, attempt.job_id) if event.type == "checkpoint"]
    assert [data["step"] for data in saved] == [10, 20, 30, 40]


def test_a_checkpoint_that_is_said_twice_is_recorded_once(db: Session, dataset: Dataset) -> None:
    """A repeated commit made the newest its own predecessor and had the real one deleted."""
    attempt = started(db, dataset)
    save(db, attempt, 10)
    save(db, attempt, 20)
    before, events = reread(db, attempt.job_id).checkpoint, events_of(db, attempt.job_id)
    assert save(db, attempt, 20) is None
    assert reread(db, attempt.job_id).checkpoint == before
    assert len(events_of(db, attempt.job_id)) == len(events)


def test_resuming_from_the_older_one_forgets_the_bad_one(db: Session, dataset: Dataset) -> None:
    attempt = started(db, dataset)
    save(db, attempt, 10)
    save(db, attempt, 20)
    newest = reread(db, attempt.job_id).checkpoint
    assert newest is not None
    used: Checkpoint = newest["previous"]
    torn = {"step": 20, "reason": "tensors.safetensors is torn"}
    record_resumption(db, attempt, used=used, rejected=[torn])
    row = reread(db, attempt.job_id)
    assert row.checkpoint == used
    texts = [event.data["text"] for event in events_of(db, attempt.job_id)[-2:]]
    assert "step 20" in texts[0]
    assert "torn" in texts[0]
    assert "step 10" in texts[1]
    key = {"job_id": attempt.job_id, "attempt": attempt.number}
    assert db.get_one(JobAttempt, key, populate_existing=True).resumed_from_step == 10


def started(db: Session, dataset: Dataset) -> Attempt:
    make_job(db, dataset)
    return take(db).attempt


def save(db: Session, attempt: Attempt, step: int) -> str | None:
    return record_checkpoint(db, attempt, step=step, path=f"step-{step}", sha256="b" * 64)
