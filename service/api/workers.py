"""`/workers`: who could train, and who is training."""

from typing import Annotated, Literal

from service.api.deps import ServicesDep
from service.api.routing import protected_router, requires
from service.api.schemas.workers import DevicesView, WorkerList, WorkerView
from service.auth.subjects import Scope, Subject
from service.jobs import workers
from service.jobs.workers import WorkerRow

router = protected_router("/workers", tags=["workers"])


@router.get("")
def list_workers(
    subject: Annotated[Subject, requires(Scope.JOBS_READ)],  # noqa: ARG001
    services: ServicesDep,
) -> WorkerList:
    """The workers heard of in the last day, newest first."""
    with services.database.transaction() as db:
        rows = workers.list_workers(db, live_seconds=services.settings.lease_seconds)
        return WorkerList(data=[_view(row) for row in rows])


def _view(row: WorkerRow) -> WorkerView:
    worker = row.worker
    state: Literal["live", "lost", "stopped"] = "live" if row.live else "lost"
    if worker.stopped_at is not None:
        state = "stopped"
    return WorkerView(
        id=worker.id,
        state=state,
        hostname=worker.hostname,
        queue="gpu" if worker.queue == workers.GPU else "cpu",
        slots=worker.slots,
        running_jobs=row.running_jobs,
        devices=DevicesView.model_validate(worker.devices),
        versions=worker.devices.get("versions"),
        started_at=worker.started_at,
        seen_at=worker.seen_at,
    )
