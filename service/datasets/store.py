"""Records of data sets."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import exists, func, or_, select, text
from sqlalchemy.orm import Session

from service.db.paging import PageRequest, read_page
from service.db.tables import Dataset, DatasetAlias, Job, Sweep
from service.errors import ConflictError, NotFoundError
from service.jobs.states import TERMINAL, JobState


def create_dataset(
    db: Session,
    workspace_id: UUID,
    *,
    name: str,
    filename: str | None,
    size_bytes: int,
    sha256: str,
    profile: dict[str, Any],
) -> Dataset:
    """Records a validated file. The same bytes may be recorded often; they are stored once."""
    dataset = Dataset(
        workspace_id=workspace_id,
        name=name,
        filename=filename,
        format=profile["format"],
        size_bytes=size_bytes,
        sha256=sha256,
        profile=profile,
    )
    db.add(dataset)
    db.flush()
    return dataset


def get_dataset(
    db: Session,
    workspace_id: UUID,
    dataset_id: UUID,
    *,
    for_update: bool = False,
    keep: bool = False,
) -> Dataset:
    """Raises NotFoundError for one that is deleted or of another workspace.

    With `keep` it is not deleted before this transaction has ended.
    """
    lock = {"read": True} if keep else for_update or None
    dataset = db.get(Dataset, dataset_id, with_for_update=lock)
    if dataset is None or dataset.workspace_id != workspace_id or dataset.deleted_at is not None:
        raise NotFoundError("There is no such data set.")
    return dataset


def list_datasets(
    db: Session, workspace_id: UUID, page: PageRequest
) -> tuple[Sequence[Dataset], bool]:
    """Newest first; and whether there are older ones."""
    owned = Dataset.workspace_id == workspace_id
    return read_page(db, Dataset, owned, page, Dataset.deleted_at.is_(None))


def delete_dataset(db: Session, workspace_id: UUID, dataset_id: UUID) -> None:
    """Hides it; the row stays for the lineage of the models that were trained on it. The bytes go
    some time later (`needs_bytes`).

    Raises ConflictError while an alias points at it, or a job that is queued or running uses it.
    """
    dataset = get_dataset(db, workspace_id, dataset_id, for_update=True)
    job = db.scalar(
        select(Job.id)
        .where(Job.dataset_id == dataset_id, Job.state.in_([JobState.QUEUED, JobState.RUNNING]))
        .limit(1)
    )
    if job is not None:
        raise ConflictError(f"Job {job} uses this data set; cancel it or wait for its end.")
    alias = db.scalar(
        select(DatasetAlias.alias).where(DatasetAlias.dataset_id == dataset_id).limit(1)
    )
    if alias is not None:
        raise ConflictError(f"The alias {alias!r} points at this data set; move or delete that.")
    dataset.deleted_at = func.now()


def lock_bytes(db: Session, sha256: str) -> None:
    """Until this transaction has ended, nobody else stores or removes a file of this digest."""
    key = int.from_bytes(bytes.fromhex(sha256)[:8], "big", signed=True)
    db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def needs_bytes(db: Session, sha256: str) -> bool:
    """Whether somebody may still read these bytes: of a data set that is not deleted, or that an
    unfinished job or sweep reads. Whoever removes them asks after `lock_bytes`."""
    using = or_(
        Dataset.deleted_at.is_(None),
        exists().where(Job.dataset_id == Dataset.id, Job.state.not_in(TERMINAL)),
        exists().where(Sweep.dataset_id == Dataset.id, Sweep.finished_at.is_(None)),
    )
    return bool(db.scalar(select(exists().where(Dataset.sha256 == sha256, using))))


def has_bytes(db: Session, sha256: str) -> bool:
    """Whether any data set, deleted or not, of any workspace, holds these bytes."""
    return db.scalar(select(Dataset.id).where(Dataset.sha256 == sha256).limit(1)) is not None
