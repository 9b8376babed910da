"""How a sweep is submitted: all that could be wrong with its trials is looked for first."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from rnn.config import TaskConfig
from rnn.errors import RnnError
from service.artifacts.store import ArtifactStore
from service.datasets.aliases import find_dataset
from service.datasets.profile import fit_profile
from service.datasets.store import get_dataset
from service.db.engine import Database
from service.db.tables import Sweep
from service.errors import Fault, ServiceError, ValidationError, of_science, within
from service.jobs.requests import JobRequest
from service.jobs.store import blocked_by
from service.jobs.submission import config_of, fill_in, name_for
from service.jobs.workers import choose_queue
from service.registry.bases import find_base
from service.registry.store import require_task
from service.settings import Settings
from service.sweeps import store
from service.sweeps.requests import SweepRequest
from service.sweeps.space import METRICS, SPACES, require_grid, require_space


def submit_sweep(
    database: Database,
    artifacts: ArtifactStore,
    settings: Settings,
    workspace_id: UUID,
    key_id: UUID | None,
    request: SweepRequest,
) -> UUID:
    """Adds a sweep, in transactions of its own; a controller begins its first trials.

    The data set and the base are those that the names in its job stand for now.

    Raises what submitting its job would raise, with the places of this body; ValidationError for a
    space that the job has not; QuotaExceededError for too many sweeps.
    """
    job, metrics = request.job, METRICS[request.job.task]
    metric = next(iter(metrics)) if request.metric is None else request.metric
    if metric not in metrics:
        fault = Fault(("body", "metric"), f"{job.task} has {', '.join(metrics)}")
        raise ValidationError("There is no such metric.", faults=[fault])
    if request.max_trials > settings.max_sweep_trials:
        fault = Fault(("body", "max_trials"), f"may be {settings.max_sweep_trials} here")
        raise ValidationError("The sweep is larger than this server allows.", faults=[fault])
    with database.transaction() as db:
        dataset = find_dataset(db, workspace_id, job.dataset)
        base = job.base_model and find_base(db, workspace_id, job.base_model, job.task)
        queue = choose_queue(db, job.device, live_seconds=settings.lease_seconds)
    fit = _RememberedFit()

    def resolve(changed: JobRequest) -> TaskConfig:
        return fill_in(
            config_of(changed),
            dataset,
            artifacts.dataset_path(dataset.sha256),
            queue=queue,
            max_parameters=settings.max_parameters,
            base=base.config if base else None,
            fit=fit,
        ).config

    try:
        resolve(job)
    except (RnnError, ServiceError) as error:
        refusal = of_science(error) if isinstance(error, RnnError) else error
        if refusal is None:
            raise
        raise within(refusal, "job") from error
    if request.sampler == "grid":
        require_grid(request.space)
    require_space(job, request.space, resolve)
    fixed = {"dataset": str(dataset.id)}
    if base:
        fixed["base_model"] = f"{base.record['name']}:{base.record['version']}"
    with database.transaction() as db:
        # It is not to be deleted before the sweep that uses it is there.
        get_dataset(db, workspace_id, dataset.id, keep=True)
        model = job.model or name_for(db, dataset, job.task)
        require_task(db, workspace_id, model, job.task)
        try:
            blocked_by(db, workspace_id, job.after)
        except ServiceError as error:
            raise within(error, "job") from error
        kept = job.model_copy(update={**fixed, "model": model})
        sweep = Sweep(
            workspace_id=workspace_id,
            created_by=key_id,
            task=job.task,
            dataset_id=dataset.id,
            model_name=model,
            job=kept.model_dump(mode="json", exclude_unset=True),
            space=SPACES.dump_python(request.space, mode="json"),
            metric=metric,
            direction=metrics[metric],
            sampler=request.sampler,
            pruner=request.pruner,
            max_trials=request.max_trials,
            parallel=request.parallel,
            max_minutes=request.max_minutes,
            seed=request.seed,
        )
        store.submit(db, sweep, max_running=settings.max_running_sweeps)
        return sweep.id


class _RememberedFit:
    """`fit_profile` of one data set, which reads the whole file where columns are named: once for
    all configurations with the same ones."""

    def __init__(self) -> None:
        self._seen: dict[str, Mapping[str, Any]] = {}

    def __call__(
        self, path: Path, profile: Mapping[str, Any], config: TaskConfig
    ) -> Mapping[str, Any]:
        key = config.data.model_dump_json()
        if key not in self._seen:
            self._seen[key] = fit_profile(path, profile, config)
        return self._seen[key]
