"""Records of batches: they are jobs, of a kind of their own."""

from uuid import UUID

from sqlalchemy.orm import Session

from service.db.tables import Job
from service.errors import NotFoundError
from service.jobs.kinds import JobKind


def require_batch(db: Session, workspace_id: UUID, batch_id: UUID) -> None:
    """Raises NotFoundError where there is no such batch in the workspace, or a training."""
    job = db.get(Job, batch_id)
    if job is None or job.workspace_id != workspace_id or job.kind != JobKind.PREDICTION:
        raise NotFoundError(f"There is no batch {batch_id} here.")
