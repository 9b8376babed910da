"""The first page: what runs, what waits, who works, what was trained, what is wrong."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from service.api import alarms, models, workers
from service.api.deps import ServicesDep
from service.api.job_views import job_views
from service.api.routing import produces, protected_router, requires
from service.auth.subjects import Scope, Subject
from service.dashboard.pages import render
from service.db.paging import PageRequest
from service.jobs import store
from service.jobs.states import JobState
from service.jobs.store import JobRow

router = protected_router("", tags=["dashboard"])

Reader = Annotated[Subject, requires(Scope.JOBS_READ, Scope.MODELS_READ)]

SHOWN = 8
LOSS_EVENTS = 300  # of a job's last ones, for its line
LINE = (120, 28)  # width and height of a line, pixels


@router.get("/", include_in_schema=False)
@produces("text/html")
def overview(request: Request, subject: Reader, services: ServicesDep) -> Response:
    first = PageRequest(limit=SHOWN, after=None)
    with services.database.transaction() as db:
        running, more_running = _in_state(db, subject, JobState.RUNNING)
        queued, more_queued = _in_state(db, subject, JobState.QUEUED)
        lines = {row.job.id: loss_line(recent_losses(db, row)) for row in running}
        views = job_views(db, services, [*running, *queued])
    return render(
        request,
        "overview.html",
        running=views[: len(running)],
        more_running=more_running,
        lines=lines,
        line_size=LINE,
        queued=views[len(running) :],
        more_queued=more_queued,
        workers=[
            worker
            for worker in workers.list_workers(subject, services).data
            if worker.state != "stopped"
        ],
        models=models.list_models(subject, first, services).data,
        alarms=alarms.list_alarms(subject, services).data,
    )


def recent_losses(db: Session, row: JobRow) -> list[float]:
    """The last training losses of a job."""
    after = max(0, row.job.last_event_seq - LOSS_EVENTS)
    events = store.events_after(db, row.job.id, after, limit=LOSS_EVENTS, type_="metrics")
    losses = [event.data.get("loss") for event in events if event.data.get("kind") == "step"]
    return [loss for loss in losses if loss is not None]


def loss_line(losses: Sequence[float]) -> str:
    """The points of an SVG line through numbers; empty where there are fewer than two."""
    if len(losses) < 2:
        return ""
    low, high = min(losses), max(losses)
    width, height = LINE
    across, up = width / (len(losses) - 1), (height - 4) / ((high - low) or 1.0)
    return " ".join(
        f"{index * across:.1f},{height - 2 - (loss - low) * up:.1f}"
        for index, loss in enumerate(losses)
    )


def _in_state(db: Session, subject: Subject, state: JobState) -> tuple[Sequence[JobRow], bool]:
    first = PageRequest(limit=SHOWN, after=None)
    return store.list_jobs(db, subject.workspace_id, first, state=state, task=None)
