"""The version that a training starts from: found, fit for the task, recorded with the job."""

import json
from typing import NamedTuple, TypedDict
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from rnn.config import TaskConfig, TaskName
from rnn.inherit import BASE_TASKS
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

    Raises as `service.registry.store.resolve`, and ModelTaskMismatchError for another task's.
    """
    model, version = resolve(db, workspace_id, reference)
    if model.task not in BASE_TASKS[task]:
        raise ModelTaskMismatchError(
            f"The model {model.name!r} is for {model.task}; {task} starts from one for "
            f"{' or '.join(BASE_TASKS[task])}."
        )
    record = BaseRecord(
        name=model.name,
        version=version.version,
        path=version.artifact_path,
        sha256=version.artifact_sha256,
    )
    return Base(_CONFIGS.validate_json(json.dumps(version.config)), record)
