"""How a job is submitted, whoever asks: what its data decides is filled in, then it is queued.

The stored configuration leaves nothing open, so the row says all that the trainer needs.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from rnn.config import (
    ClassificationConfig,
    ForecastingConfig,
    GenerationConfig,
    TaskConfig,
    TaskName,
)
from rnn.inherit import inherit
from rnn.resolve import Workload, parameter_count, resolve, workload
from service.artifacts.store import ArtifactStore
from service.auth.subjects import Scope, Subject
from service.datasets.aliases import find_dataset
from service.datasets.profile import fit_profile
from service.datasets.roles import assign_columns
from service.datasets.store import get_dataset
from service.db.engine import Database
from service.db.tables import Dataset, Job
from service.errors import Fault, ForbiddenError, ModelTaskMismatchError, ValidationError
from service.jobs import store
from service.jobs.preemption import make_room
from service.jobs.quotas import default_quota
from service.jobs.requests import (
    ClassificationJob,
    ForecastingJob,
    GenerationJob,
    JobRequest,
    QueueFields,
)
from service.jobs.store import Trial
from service.jobs.workers import GPU, choose_queue
from service.registry.bases import BaseRecord, find_base
from service.registry.store import require_task
from service.settings import Settings

MAX_NAME = 64
FitProfile = Callable[[Path, Mapping[str, Any], TaskConfig], Mapping[str, Any]]


class Prepared(NamedTuple):
    """What a request's data set and base decide. It holds as long as these are there."""

    dataset_id: UUID
    config: TaskConfig
    base: BaseRecord | None
    queue: str
    parameters: int  # as `rnn.resolve.parameter_count` has it
    workload: Workload


class Filled(NamedTuple):
    """A configuration that leaves nothing open, and what it comes to on its data."""

    config: TaskConfig
    parameters: int
    workload: Workload


def require_scopes(subject: Subject, request: QueueFields) -> None:
    """Raises ForbiddenError for a priority that is not for everybody."""
    if request.priority > 0 and Scope.KEYS_ADMIN not in subject.scopes:
        raise ForbiddenError("A priority above 0 needs the scope keys:admin.")


def prepare(
    database: Database,
    artifacts: ArtifactStore,
    settings: Settings,
    workspace_id: UUID,
    request: JobRequest,
) -> Prepared:
    """Makes every choice that the request leaves open. It may read the whole file, so it comes
    before the transaction that queues the job.

    Raises NotFoundError, ModelTaskMismatchError, ValidationError, and the errors of `fill_in`.
    """
    with database.transaction() as db:
        dataset = find_dataset(db, workspace_id, request.dataset)
        base = None
        if request.base_model is not None:
            base = find_base(db, workspace_id, request.base_model, request.task)
        queue = choose_queue(db, request.device, live_seconds=settings.lease_seconds)
    filled = fill_in(
        config_of(request),
        dataset,
        artifacts.dataset_path(dataset.sha256),
        queue=queue,
        max_parameters=settings.max_parameters,
        base=base.config if base else None,
    )
    return Prepared(dataset.id, filled.config, base.record if base else None, queue, *filled[1:])


def enqueue(
    db: Session,
    settings: Settings,
    workspace_id: UUID,
    key_id: UUID | None,
    request: JobRequest,
    prepared: Prepared,
    trial: Trial | None = None,
) -> Job:
    """Queues the job. The caller wakes a worker of its queue, after the commit.

    Raises NotFoundError where the data set was deleted meanwhile, and the errors of `store.submit`.
    """
    defaults = default_quota(settings)
    # It is not to be deleted before the job that uses it is there.
    dataset = get_dataset(db, workspace_id, prepared.dataset_id, keep=True)
    job = store.submit(
        db,
        workspace_id=workspace_id,
        created_by=key_id,
        dataset_id=dataset.id,
        model_name=request.model or name_for(db, dataset, request.task),
        config=prepared.config.model_dump(mode="json"),
        base=prepared.base,
        device=request.device,
        queue=prepared.queue,
        priority=request.priority,
        labels=request.metadata,
        after=request.after,
        preempts=request.preempts,
        deadline=request.deadline,
        trial=trial,
        defaults=defaults,
    )
    if request.preempts:
        make_room(db, live_seconds=settings.lease_seconds, defaults=defaults)
    return job


def fill_in(
    config: TaskConfig,
    dataset: Dataset,
    path: Path,
    *,
    queue: str,
    max_parameters: int,
    base: TaskConfig | None = None,
    fit: FitProfile = fit_profile,
) -> Filled:
    """The configuration with every choice that depends on the data, or on the network that the
    training starts from, made.

    The file at `path` is read only where the caller names other columns than were found in it.

    Raises ValidationError for a data set of another kind or a network beyond `max_parameters`, and
    of `rnn` DataTooSmallError where the data cannot fill what was asked for, and ConfigError where
    that contradicts the base.
    """
    if base is not None:
        config = inherit(config, base)
    if not _names_columns(config):
        _require_kind(config.task, dataset)
    assigned = assign_columns(config, dataset.profile)
    profile = fit(path, dataset.profile, assigned)
    resolved = resolve(assigned, profile, "cuda" if queue == GPU else "cpu")
    parameters = parameter_count(resolved, profile)
    if parameters > max_parameters:
        fault = Fault(
            ("body", "architecture"),
            f"makes {parameters:,} weights, and {max_parameters:,} are allowed",
        )
        raise ValidationError("The network is larger than this server allows.", faults=[fault])
    return Filled(resolved, parameters, workload(resolved, profile))


def default_model_name(dataset_name: str, task: str, *, taken: bool) -> str:
    """A model's name made of the data set's, with the task added where that one is taken."""
    stem = re.sub(r"\.(csv|tsv|jsonl|ndjson|json|txt)(\.(gz|zst))?$", "", dataset_name.lower())
    slug = re.sub(r"[^a-z0-9]+", "-", stem).strip("-") or "model"
    if not taken:
        return slug[:MAX_NAME].rstrip("-")
    return f"{slug[: MAX_NAME - len(task) - 1].rstrip('-')}-{task}"


def config_of(request: JobRequest) -> TaskConfig:
    """The part of the request that is the trainer's."""
    match request:
        case ForecastingJob():
            kind: Any = ForecastingConfig
        case ClassificationJob():
            kind = ClassificationConfig
        case GenerationJob():
            kind = GenerationConfig
    config: TaskConfig = kind(**{name: getattr(request, name) for name in kind.model_fields})
    return config


def name_for(db: Session, dataset: Dataset, task: TaskName) -> str:
    name = default_model_name(dataset.name, task, taken=False)
    try:
        require_task(db, dataset.workspace_id, name, task)
    except ModelTaskMismatchError:
        return default_model_name(dataset.name, task, taken=True)
    return name


def _names_columns(config: TaskConfig) -> bool:
    return any(
        value is not None
        for name, value in config.data
        if name.endswith("_column") or name == "target_columns"
    )


def _require_kind(task: str, dataset: Dataset) -> None:
    serves: list[str] = dataset.profile["tasks"]
    if task in serves:
        return
    others = f"it can serve {' and '.join(serves)}" if serves else "it can serve no task"
    fault = Fault(("body", "dataset"), f"is not one for {task}; {others}")
    raise ValidationError(
        f"The data set {dataset.name!r} cannot be used for {task}: {others}.", faults=[fault]
    )
