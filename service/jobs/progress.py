"""What a running attempt writes: progress, metrics, checkpoints. Each write is fenced."""

from collections.abc import Sequence
from typing import Any, TypedDict

from sqlalchemy import update
from sqlalchemy.orm import Session

from service.db.tables import TRAINED_TIMESTEPS, JobAttempt, Total
from service.jobs.transitions import Attempt, NewEvent, lock, write


class Checkpoint(TypedDict):
    """A resumable training state, as `jobs.checkpoint` keeps it: the newest, and the one before."""

    attempt: int
    step: int
    path: str  # relative to the artifact folder
    sha256: str  # of the manifest
    previous: "Checkpoint | None"


def record_progress(
    db: Session,
    attempt: Attempt,
    *,
    progress: dict[str, Any],
    metrics: dict[str, Any] | None,
    events: Sequence[NewEvent],
    timesteps: int = 0,
) -> None:
    """One batch of a trainer's reports.

    Args:
        metrics: None leaves those of the last evaluation.
        timesteps: trained on since the batch before.
    """
    values: dict[str, Any] = {"progress": progress}
    if metrics is not None:
        values["metrics"] = metrics
    write(db, attempt, values=values, events=events)
    if timesteps:  # last: all jobs write to this row
        add = update(Total).where(Total.name == TRAINED_TIMESTEPS)
        db.execute(add.values(value=Total.value + timesteps))


def record_checkpoint(
    db: Session, attempt: Attempt, *, step: int, path: str, sha256: str
) -> str | None:
    """Makes a saved and synced folder the one to resume from; returns one that is needed no more.

    This is the progress that clears the count of crashes. Saying the same one twice changes
    nothing: whoever lost the connection during a commit has to repeat it.
    """
    job = lock(db, attempt)
    older = job.checkpoint
    if older and older["path"] == path:
        return None
    obsolete = (older.get("previous") or {}).get("path") if older else None
    newest: Checkpoint = {
        "attempt": attempt.number,
        "step": step,
        "path": path,
        "sha256": sha256,
        "previous": {**older, "previous": None} if older else None,  # type: ignore[typeddict-item]
    }
    data = {key: value for key, value in newest.items() if key != "previous"}
    write(
        db,
        attempt,
        values={"checkpoint": dict(newest), "crashes_without_progress": 0},
        events=[NewEvent("checkpoint", data)],
    )
    return obsolete


def record_resumption(
    db: Session, attempt: Attempt, *, used: Checkpoint | None, rejected: Sequence[dict[str, Any]]
) -> None:
    """Says where an attempt starts, and drops the checkpoints that turned out to be bad."""
    if used is None:
        text = "starts from the beginning" if rejected else "starts"
    else:
        text = f"resumes from step {used['step']}, saved by attempt {used['attempt']}"
    events = [
        NewEvent(
            "message",
            {
                "level": "warning",
                "text": f"the checkpoint of step {bad['step']} cannot be used: {bad['reason']}",
            },
        )
        for bad in rejected
    ]
    events.append(NewEvent("message", {"level": "info", "text": text}))
    write(db, attempt, values={"checkpoint": dict(used) if used else None}, events=events)
    db.execute(
        update(JobAttempt)
        .where(JobAttempt.job_id == attempt.job_id, JobAttempt.attempt == attempt.number)
        .values(resumed_from_step=used["step"] if used else None)
        .execution_options(synchronize_session=False)
    )
