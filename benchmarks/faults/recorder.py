"""The database as a witness: triggers write down every accepted change of a job's row.

Under the lock of the row that was changed, so that a job's changes are numbered in the order of
their commits; a change that is rolled back, or lost in a crash, leaves no record.
"""

from collections.abc import Iterator

from sqlalchemy import select, text

from benchmarks.faults.history import TERMINAL, Record
from service.db.engine import Database
from service.db.tables import JobEvent, ModelVersion

_INSTALL = """
CREATE TABLE fault_history (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    by text NOT NULL DEFAULT current_setting('application_name'),
    before jsonb,
    after jsonb NOT NULL
);
CREATE FUNCTION fault_seen(job jobs) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object(
        'job', job.id, 'state', job.state, 'attempt', job.attempt, 'worker', job.worker_id,
        'seq', job.last_event_seq, 'lease', job.lease_expires_at,
        'checkpoint', job.checkpoint ->> 'path', 'cancel', job.cancel_requested_at IS NOT NULL,
        'number', job.metadata ->> 'number', 'held', job.paused_at IS NOT NULL OR job.blocked)
$$;
CREATE FUNCTION fault_write_down() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'workers' THEN
        INSERT INTO fault_history (after) VALUES (jsonb_build_object('worker', NEW.id));
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO fault_history (after) VALUES (fault_seen(NEW));
    ELSE
        INSERT INTO fault_history (before, after) VALUES (fault_seen(OLD), fault_seen(NEW));
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER fault_history AFTER INSERT OR UPDATE ON jobs
    FOR EACH ROW EXECUTE FUNCTION fault_write_down();
CREATE TRIGGER fault_history AFTER INSERT ON workers
    FOR EACH ROW EXECUTE FUNCTION fault_write_down();
"""


def install(database: Database) -> None:
    with database.transaction() as db:
        db.execute(text(_INSTALL))


def records(database: Database, began: float) -> Iterator[Record]:
    """Everything that the database knows; `began` is the run's first moment, seconds since 1970."""
    seen = text(
        "SELECT n, extract(epoch FROM at)::float8 AS at, by, before, after FROM fault_history"
        " ORDER BY n"
    )
    with database.transaction() as db:
        for row in db.execute(seen):
            yield {
                "op": _op(row.before, row.after),
                "at": row.at - began,
                "n": row.n,
                "by": row.by,
                **_change(row.before, row.after),
            }
        for event in db.scalars(select(JobEvent).order_by(JobEvent.job_id, JobEvent.seq)):
            record: Record = {
                "op": "event",
                "at": event.created_at.timestamp() - began,
                "job": str(event.job_id),
                "seq": event.seq,
                "attempt": event.attempt,
                "type": event.type,
            }
            if event.type == "state":
                record["reason"] = event.data["reason"]
                if "error" in event.data:
                    record["error"] = event.data["error"]["type"]
                    record["detail"] = event.data["error"]["detail"]
            elif event.type == "checkpoint":
                record["step"] = event.data["step"]
            yield record
        for version in db.scalars(select(ModelVersion).where(ModelVersion.job_id.is_not(None))):
            yield {
                "op": "version",
                "at": version.created_at.timestamp() - began,
                "job": str(version.job_id),
                "attempt": version.attempt,
            }


def _op(before: Record | None, after: Record) -> str:
    """What a change of a row was, told by the columns that it changed."""
    if "job" not in after:
        return "worker"
    if before is None:
        return "submitted"
    if before["state"] != after["state"]:
        if after["state"] == "running":
            return "claimed"
        if after["state"] in TERMINAL:
            return "ended"
        return "retried" if before["state"] in TERMINAL else "released"
    if before["lease"] != after["lease"]:
        return "heartbeat"
    return "write" if before["checkpoint"] == after["checkpoint"] else "checkpoint"


def _change(before: Record | None, after: Record) -> Record:
    kept = {name: value for name, value in after.items() if name not in ("lease", "checkpoint")}
    if before is not None:
        kept["worker"] = before["worker"]  # whose it was
    return kept
