"""What a training would take, told before it is queued."""

from statistics import median
from typing import NamedTuple
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from rnn.config import OptimizerName, TaskConfig, TrainingConfig
from rnn.resolve import workload
from service.db.tables import Dataset, Job
from service.jobs.kinds import JobKind
from service.jobs.states import JobState
from service.jobs.submission import Prepared

RECENT_JOBS = 5
FLOAT_BYTES = 4
# Numbers that the update rule keeps for each weight.
MOMENTS: dict[OptimizerName, int] = {"adamw": 2, "adam": 2, "sgd": 1, "rmsprop": 1}

_CONFIG: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)


class Estimate(NamedTuple):
    """Attributes:
    memory_bytes: of the weights and what is kept for each of them.
    steps: at most.
    seconds: for that many at the rate of earlier jobs; None where there were none.
    """

    memory_bytes: int
    steps: int
    seconds: float | None


def estimate(db: Session, workspace_id: UUID, prepared: Prepared) -> Estimate:
    training = prepared.config.training
    steps, multiplications = prepared.workload
    rate = _multiplications_per_second(db, workspace_id, prepared)
    seconds = None if rate is None else steps * multiplications / rate
    if seconds is not None and training.max_minutes is not None:
        seconds = min(seconds, 60 * training.max_minutes)
    return Estimate(prepared.parameters * bytes_per_weight(training), steps, seconds)


def bytes_per_weight(training: TrainingConfig) -> int:
    """Itself, its gradient, what the update rule keeps of it, and its average if there is one."""
    averages = 0 if training.averaging == "none" else 1
    return FLOAT_BYTES * (2 + MOMENTS[training.optimizer] + averages)


def _multiplications_per_second(
    db: Session, workspace_id: UUID, prepared: Prepared
) -> float | None:
    """The median of the last jobs of the task in the queue, in the units of `Workload`."""
    recent = db.execute(
        select(Job.config, Job.progress, Dataset.profile)
        .join(Dataset, Dataset.id == Job.dataset_id)
        .where(
            Job.workspace_id == workspace_id,
            Job.kind == JobKind.TRAINING,
            Job.task == prepared.config.task,
            Job.queue == prepared.queue,
            Job.state == JobState.SUCCEEDED,
        )
        .order_by(Job.id.desc())
        .limit(RECENT_JOBS)
    )
    rates = [
        progress["steps_per_second"] * workload(_CONFIG.validate_python(config), profile)[1]
        for config, progress, profile in recent
        if progress.get("steps_per_second") and prepared.config.task in profile["tasks"]
    ]
    return median(rates) if rates else None
