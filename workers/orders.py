"""The order that a trainer gets for a claimed job."""

from collections.abc import Sequence
from typing import Any

from service.jobs.claims import Claim
from service.jobs.kinds import JobKind
from service.jobs.logs import log_path
from service.jobs.progress import Checkpoint
from service.jobs.workers import GPU
from workers.messages import KeptCheckpoint, Predict, Train
from workers.room import Room


def make_order(room: Room, claim: Claim, kept: Sequence[Checkpoint]) -> Train | Predict:
    """What the job's row, its data set and the worker's settings say; `kept` are its checkpoints,
    the newest first."""
    job, artifacts, settings = claim.job, room.artifacts, room.settings
    number = claim.attempt.number
    order: dict[str, Any] = {
        "config": job.config,
        "profile": claim.profile,
        "dataset_path": artifacts.dataset_path(claim.dataset_sha256),
        "log_path": log_path(artifacts, job.id, number),
        "checkpoints_dir": artifacts.checkpoints_dir(job.id, number),
        "checkpoints": [
            KeptCheckpoint(
                step=each["step"], path=artifacts.absolute(each["path"]), sha256=each["sha256"]
            )
            for each in kept
        ],
        "base": job.base and {**job.base, "path": artifacts.absolute(job.base["path"])},
        "device": "cuda" if room.devices.queue == GPU and job.device != "cpu" else "cpu",
        "checkpoint_interval_seconds": settings.checkpoint_interval_seconds,
    }
    if job.kind == JobKind.PREDICTION:
        limits = {
            "max_prompt_tokens": settings.max_prompt_tokens,
            "max_result_bytes": settings.max_result_bytes,
        }
        return Predict.model_validate({**order, **limits})
    return Train.model_validate({**order, "model_dir": artifacts.model_dir(job.id, number)})
