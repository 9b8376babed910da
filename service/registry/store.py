"""Models, their versions and the aliases that point at them.

A version is immutable but for its card. An alias moves under the lock of its model's row, and every
move appends to `deployments` in the same transaction, so the log read in order explains each
pointer.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Text, any_, delete, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from service.db.notifications import MODEL_VERSIONS, notify
from service.db.paging import PageRequest, read_page
from service.db.tables import Dataset, Deployment, Job, Model, ModelAlias, ModelVersion
from service.errors import ConflictError, ModelNotReadyError, ModelTaskMismatchError, NotFoundError
from service.jobs.kinds import JobKind
from service.jobs.states import TERMINAL, JobState
from service.registry.references import PRODUCTION, Reference, parse_reference


def announce(
    db: Session, artifact_path: str, artifact_sha256: str, number: str | None = None
) -> None:
    """Tells every API process, on commit, to load and warm a folder that will soon be a version,
    and to say so where there is a number (`service.registry.rollout`)."""
    news = {"artifact_path": artifact_path, "artifact_sha256": artifact_sha256}
    notify(db, MODEL_VERSIONS, news if number is None else {**news, "number": number})


def require_task(db: Session, workspace_id: UUID, name: str, task: str) -> None:
    """Refuses a job that would publish `task` under a name that is taken for another one."""
    taken = db.scalar(
        select(Model.task).where(Model.workspace_id == workspace_id, Model.name == name)
    ) or db.scalar(
        select(Job.task)
        .where(
            Job.workspace_id == workspace_id,
            Job.model_name == name,
            Job.state.not_in(TERMINAL),
            Job.task != task,
        )
        .limit(1)
    )
    if taken is not None and taken != task:
        raise ModelTaskMismatchError(f"The model {name!r} is for {taken}, this job is for {task}.")


def register_version(
    db: Session,
    *,
    job: Job,
    artifact_path: str,
    artifact_sha256: str,
    metrics: dict[str, Any],
    parameters: int,
    code_version: str,
    attempt: int,
    serving: dict[str, Any] | None = None,
) -> ModelVersion:
    """Publishes what a job trained as the next version of its model, and moves `production` to it.

    Called in the transaction that makes the job `succeeded`, so there is never one without the
    other. `artifact_path` is relative to the artifact folder; `serving` is an `rnn.events.Serving`.
    """
    db.execute(
        insert(Model)
        .values(workspace_id=job.workspace_id, name=job.model_name, task=job.task)
        .on_conflict_do_nothing(index_elements=["workspace_id", "name"])
    )
    model = _lock(db, job.workspace_id, job.model_name)
    if model.task != job.task:
        raise ModelTaskMismatchError(
            f"The model {model.name!r} is for {model.task}, the job trained {job.task}."
        )
    newest = db.scalar(
        select(func.max(ModelVersion.version)).where(ModelVersion.model_id == model.id)
    )
    version = ModelVersion(
        model_id=model.id,
        version=(newest or 0) + 1,
        job_id=job.id,
        attempt=attempt,
        dataset_id=job.dataset_id,
        dataset_sha256=db.execute(
            select(Dataset.sha256).where(Dataset.id == job.dataset_id)
        ).scalar_one(),
        config=job.config,
        base=job.base,
        seed=job.config["training"]["seed"],
        code_version=code_version,
        metrics=metrics,
        artifact_path=artifact_path,
        artifact_sha256=artifact_sha256,
        parameters=parameters,
        serving=serving,
    )
    db.add(version)
    db.flush()
    point_production(db, model, version, reason="trained")
    return version


def point_production(db: Session, model: Model, version: ModelVersion, *, reason: str) -> None:
    """Moves `production` to a version that the caller just added."""
    _point(db, model, PRODUCTION, version, reason=reason)


def resolve(db: Session, workspace_id: UUID, reference: str) -> tuple[Model, ModelVersion]:
    """The version that a reference stands for now.

    Raises NotFoundError for what this workspace does not have, ModelNotReadyError for a name that
    so far only jobs know.
    """
    wanted = parse_reference(reference)
    model = db.scalar(
        select(Model).where(Model.workspace_id == workspace_id, Model.name == wanted.name)
    )
    if model is None:
        raise _absent(db, workspace_id, wanted)
    query = select(ModelVersion).where(ModelVersion.model_id == model.id)
    if wanted.version is not None:
        query = query.where(ModelVersion.version == wanted.version)
    else:
        query = query.join(ModelAlias, ModelAlias.version_id == ModelVersion.id).where(
            ModelAlias.alias == wanted.alias
        )
    version = db.scalar(query)
    if version is None:
        what = f"version {wanted.version}" if wanted.version else f"alias {wanted.alias!r}"
        raise NotFoundError(f"The model {model.name!r} has no {what}.")
    return model, version


def get_model(db: Session, workspace_id: UUID, name: str) -> Model:
    model = db.scalar(select(Model).where(Model.workspace_id == workspace_id, Model.name == name))
    if model is None:
        raise NotFoundError(f"There is no model {name[:200]!r} here.")
    return model


def list_models(db: Session, workspace_id: UUID, page: PageRequest) -> tuple[Sequence[Model], bool]:
    """Newest first, and whether there are more."""
    return read_page(db, Model, Model.workspace_id == workspace_id, page)


def get_version(db: Session, model: Model, number: int) -> ModelVersion:
    version = db.scalar(
        select(ModelVersion).where(
            ModelVersion.model_id == model.id, ModelVersion.version == number
        )
    )
    if version is None:
        raise NotFoundError(f"The model {model.name!r} has no version {number}.")
    return version


def write_card(db: Session, workspace_id: UUID, name: str, number: int, card: str | None) -> None:
    """Raises NotFoundError for a version that is not there."""
    get_version(db, get_model(db, workspace_id, name), number).card = card


def list_versions(
    db: Session, model: Model, page: PageRequest
) -> tuple[Sequence[ModelVersion], bool]:
    """Newest first, and whether there are more."""
    return read_page(db, ModelVersion, ModelVersion.model_id == model.id, page)


def aliases_of(db: Session, model_ids: Sequence[UUID]) -> dict[UUID, dict[str, int]]:
    """For each model its aliases with the version number that each points at."""
    rows = db.execute(
        select(ModelAlias.model_id, ModelAlias.alias, ModelVersion.version)
        .join(ModelVersion, ModelVersion.id == ModelAlias.version_id)
        .where(ModelAlias.model_id.in_(model_ids))
        .order_by(ModelAlias.alias)
    )
    found: dict[UUID, dict[str, int]] = {model_id: {} for model_id in model_ids}
    for model_id, alias, version in rows:
        found[model_id][alias] = version
    return found


def latest_versions(db: Session, model_ids: Sequence[UUID]) -> dict[UUID, int]:
    rows = db.execute(
        select(ModelVersion.model_id, func.max(ModelVersion.version))
        .where(ModelVersion.model_id.in_(model_ids))
        .group_by(ModelVersion.model_id)
    )
    return dict(rows.all())


def version_numbers(db: Session, model: Model) -> dict[UUID, int]:
    """Numbers of all versions of a model by id, to read its log with."""
    rows = db.execute(
        select(ModelVersion.id, ModelVersion.version).where(ModelVersion.model_id == model.id)
    )
    return dict(rows.all())


def list_deployments(
    db: Session, model: Model, page: PageRequest
) -> tuple[Sequence[Deployment], bool]:
    """The log of alias moves, newest first, and whether there are more."""
    return read_page(db, Deployment, Deployment.model_id == model.id, page)


def move_alias(db: Session, workspace_id: UUID, name: str, alias: str, number: int) -> Model:
    """Points an alias at a version, making the alias if need be. A move to where it is: nothing."""
    model = _lock(db, workspace_id, name)
    _point(db, model, alias, get_version(db, model, number), reason="moved")
    return model


def remove_alias(db: Session, workspace_id: UUID, name: str, alias: str) -> None:
    model = _lock(db, workspace_id, name)
    if _current(db, model, alias) is None:
        raise NotFoundError(f"The model {name!r} has no alias {alias!r}.")
    _point(db, model, alias, None, reason="removed")


def roll_back(db: Session, workspace_id: UUID, name: str, alias: str) -> Model:
    """Takes back the last move of an alias that was not taken back yet.

    Two in a row go two moves back. Raises ConflictError where there is nothing to go back to.
    """
    model = _lock(db, workspace_id, name)
    _point(db, model, alias, _earlier(db, model, alias), reason="rolled_back")
    return model


def earlier_version(db: Session, workspace_id: UUID, name: str, alias: str) -> ModelVersion:
    """What `roll_back` would point the alias at now. Raises as it does."""
    return _earlier(db, get_model(db, workspace_id, name), alias)


def _earlier(db: Session, model: Model, alias: str) -> ModelVersion:
    history: list[UUID | None] = []
    moves = db.scalars(
        select(Deployment)
        .where(Deployment.model_id == model.id, Deployment.alias == alias)
        .order_by(Deployment.id)
    )
    for move in moves:
        if move.reason == "rolled_back":
            history.pop()
        else:
            history.append(move.version_id)
    if len(history) < 2 or history[-2] is None:
        raise ConflictError(
            f"The alias {alias!r} of the model {model.name!r} has no earlier version to go back to."
        )
    return db.get_one(ModelVersion, history[-2])


def delete_model(db: Session, workspace_id: UUID, name: str) -> list[str]:
    """Removes a model with its versions, aliases and log; returns the artifact folders to remove.

    Jobs keep their rows. Raises ConflictError while a job is about to publish another version, or
    to predict with one.
    """
    model = _lock(db, workspace_id, name)
    unfinished = db.scalar(
        select(Job.id)
        .where(
            Job.workspace_id == workspace_id,
            Job.model_name == name,
            Job.state.not_in(TERMINAL),
        )
        .limit(1)
    )
    if unfinished is not None:
        raise ConflictError(f"The job {unfinished} still needs {name!r}: cancel it first.")
    paths = db.scalars(
        select(ModelVersion.artifact_path).where(ModelVersion.model_id == model.id)
    ).all()
    served = db.scalars(
        select(ModelVersion.artifact_sha256)
        .join(ModelAlias, ModelAlias.version_id == ModelVersion.id)
        .where(ModelAlias.model_id == model.id)
    ).all()
    db.execute(delete(Model).where(Model.id == model.id))
    _tell_unused(db, set(served))
    notify(db, MODEL_VERSIONS, {})
    return list(paths)


def named_folders(db: Session, paths: Sequence[str]) -> set[str]:
    """Those of the artifact folders that a row names: a version, a trial whose sweep may publish
    it, an unfinished job that starts from it or predicts with it."""
    trained, base = Job.trained["path"].astext, Job.base["path"].astext
    wanted = any_(literal(list(paths), ARRAY(Text)))
    return set(
        db.scalars(
            union_all(
                select(ModelVersion.artifact_path).where(ModelVersion.artifact_path == wanted),
                select(trained).where(Job.trained.is_not(None), trained == wanted),
                select(base).where(Job.state.not_in(TERMINAL), base == wanted),
            )
        )
    )


def _lock(db: Session, workspace_id: UUID, name: str) -> Model:
    """The model, with its row locked: versions are numbered and aliases moved one at a time."""
    model = db.scalar(
        select(Model)
        .where(Model.workspace_id == workspace_id, Model.name == name)
        .with_for_update()
    )
    if model is None:
        raise NotFoundError(f"There is no model {name[:200]!r} here.")
    return model


def _current(db: Session, model: Model, alias: str) -> UUID | None:
    return db.scalar(
        select(ModelAlias.version_id).where(
            ModelAlias.model_id == model.id, ModelAlias.alias == alias
        )
    )


def _point(
    db: Session, model: Model, alias: str, version: ModelVersion | None, *, reason: str
) -> None:
    """Moves or removes an alias, logs it, and tells every API process to look again, and which
    network no alias stands for any more."""
    previous = _current(db, model, alias)
    target = version.id if version else None
    if previous == target:
        return
    if target is None:
        db.execute(
            delete(ModelAlias).where(ModelAlias.model_id == model.id, ModelAlias.alias == alias)
        )
    else:
        db.execute(
            insert(ModelAlias)
            .values(model_id=model.id, alias=alias, version_id=target)
            .on_conflict_do_update(
                index_elements=["model_id", "alias"],
                set_={"version_id": target, "moved_at": func.now()},
            )
        )
    db.add(
        Deployment(
            model_id=model.id,
            alias=alias,
            version_id=target,
            previous_version_id=previous,
            reason=reason,
        )
    )
    db.flush()
    if previous is not None:
        _tell_unused(db, {db.get_one(ModelVersion, previous).artifact_sha256})
    if version is not None:
        announce(db, version.artifact_path, version.artifact_sha256)
    else:
        notify(db, MODEL_VERSIONS, {})


def _tell_unused(db: Session, digests: AbstractSet[str]) -> None:
    """Tells every API process which of these networks no alias of any model stands for."""
    pointed_at = (
        select(ModelVersion.artifact_sha256)
        .join(ModelAlias, ModelAlias.version_id == ModelVersion.id)
        .where(ModelVersion.artifact_sha256.in_(digests))
    )
    for unused in digests - set(db.scalars(pointed_at)):
        notify(db, MODEL_VERSIONS, {"unused_sha256": unused})


def _absent(
    db: Session, workspace_id: UUID, wanted: Reference
) -> NotFoundError | ModelNotReadyError:
    """Why there is no such model: nobody ever asked for it, or its job has not made it yet."""
    job = db.execute(
        select(Job.id, Job.state)
        .where(
            Job.workspace_id == workspace_id,
            Job.model_name == wanted.name,
            Job.kind == JobKind.TRAINING,
        )
        .order_by(Job.id.desc())
        .limit(1)
    ).first()
    if job is None or job.state == JobState.SUCCEEDED:  # succeeded without a model: it was deleted
        return NotFoundError(f"There is no model {wanted.name!r} here.")
    return ModelNotReadyError(
        f"The model {wanted.name!r} has no trained version: its job {job.id} is {job.state}."
    )
