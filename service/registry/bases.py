"""The version that a job starts from, or predicts with: found, fit for it, recorded with it."""

import json
from typing import NamedTuple, TypedDict
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from rnn.config import TaskConfig, TaskName
from rnn.inherit import BASE_TASKS
from service.db.tables import Model, ModelVersion
from service.errors import ModelTaskMismatchError
from service.registry.store import resolve

_CONFIGS: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)


class BaseRecord(TypedDict):
    """What a job and its version keep of it, whatever becomes of its name."""

    name: str
    version: int
    path: str  # relative to the artifact folder
    sha256: str  # of the manifest


class Base(NamedTuple):
    config: TaskConfig
    record: BaseRecord


def find_base(db: Session, workspace_id: UUID, reference: str, task: TaskName) -> Base:
    """The version that a reference stands for now, if a training for `task` can start from it.

    Raises as `find_version`, and ModelTaskMismatchError for another task's.
    """
    base = find_version(db, workspace_id, reference)
    if base.config.task not in BASE_TASKS[task]:
        raise ModelTaskMismatchError(
            f"The model {base.record['name']!r} is for {base.config.task}; {task} starts from one "
            f"for {' or '.join(BASE_TASKS[task])}."
        )
    return base


def find_version(db: Session, workspace_id: UUID, reference: str) -> Base:
    """The version that a reference stands for now; raises as `service.registry.store.resolve`."""
    model, version = resolve(db, workspace_id, reference)
    record = BaseRecord(
        name=model.name,
        version=version.version,
        path=version.artifact_path,
        sha256=version.artifact_sha256,
    )
    return Base(_CONFIGS.validate_json(json.dumps(version.config)), record)


def is_there(db: Session, workspace_id: UUID, record: BaseRecord) -> bool:
    """Whether the version that a job was given was not deleted since; it is not before this
    transaction has ended."""
    found = db.scalar(
        select(ModelVersion.id)
        .join(Model, Model.id == ModelVersion.model_id)
        .where(
            Model.workspace_id == workspace_id,
            Model.name == record["name"],
            ModelVersion.version == record["version"],
            ModelVersion.artifact_sha256 == record["sha256"],
        )
        .with_for_update(of=Model, read=True, key_share=True)
    )
    return found is not None
