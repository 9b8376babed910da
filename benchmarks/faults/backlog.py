"""Queued jobs by the hundred thousand, written by the database itself."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from rnn.config import ForecastingConfig

_WORKSPACES = text(
    """
    WITH made AS (
        INSERT INTO workspaces (name)
        SELECT 'backlog ' || uuidv7() FROM generate_series(1, :count) RETURNING id
    )
    INSERT INTO datasets (workspace_id, name, format, size_bytes, sha256, profile)
    SELECT id, 'a data set', 'csv', 1, repeat('a', 64), '{}' FROM made
    """
)
# Job by job and not workspace by workspace: the ids of all workspaces alternate, as their ages do.
_JOBS = text(
    """
    INSERT INTO jobs (workspace_id, task, dataset_id, model_name, config, device, queue, paused_at,
                      blocked, last_event_seq)
    SELECT workspace_id, 'time-series-forecasting', id, 'model-' || n % :models,
           CAST(:config AS jsonb), 'auto', 'cpu', CASE WHEN n % 10 < :paused THEN now() END,
           n % 10 >= 10 - :blocked, 0
    FROM generate_series(1, :count) n, datasets
    ORDER BY n
    """
)


def open_workspaces(db: Session, count: int) -> None:
    """Workspaces with one data set each."""
    db.execute(_WORKSPACES, {"count": count})


def queue_jobs(
    db: Session, each: int, *, models: int = 1, paused: int = 0, blocked: int = 0
) -> None:
    """As many queued jobs in each workspace. Of ten, so many are held: paused or blocked.

    Their model's name is one of `models`. They have no events yet.
    """
    config = ForecastingConfig(task="time-series-forecasting").model_dump_json()
    choices = {"count": each, "models": models, "paused": paused, "blocked": blocked}
    db.execute(_JOBS, {**choices, "config": config})
