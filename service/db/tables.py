"""The tables. PostgreSQL is the truth; queues and caches only hint at it.

Ids are UUID version 7, made by the server, so that ordering by id is ordering by age. Times are
the database's clock. A change here comes with a migration; a test compares the two.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    type_annotation_map = {  # noqa: RUF012 - declared by the base class
        str: Text,
        int: BigInteger,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
        bytes: LargeBinary,
        UUID: Uuid,
    }


class WithId:
    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("uuidv7()"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class InWorkspace(WithId):
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), index=True)


class Workspace(WithId, Base):
    """The owner of everything: nothing of one workspace is seen from another."""

    __tablename__ = "workspaces"

    name: Mapped[str] = mapped_column(unique=True)
    quota: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # jobs.quotas.Quota


class ApiKey(InWorkspace, Base):
    """A bearer key. Only the hash of its secret is stored."""

    __tablename__ = "api_keys"

    name: Mapped[str]
    scopes: Mapped[list[str]]
    public_id: Mapped[str] = mapped_column(unique=True)  # the id part of the key itself
    secret_sha256: Mapped[bytes]
    not_before: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class BrowserSession(Base):
    """A browser that signed in with a key. Only the hash of its cookie is stored."""

    __tablename__ = "browser_sessions"

    token_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]


class Dataset(InWorkspace, Base):
    """Validated, immutable rows. `deleted_at` hides it; jobs that used it keep their lineage."""

    __tablename__ = "datasets"
    __table_args__ = (Index("datasets_by_digest", "workspace_id", "sha256"),)

    name: Mapped[str]
    filename: Mapped[str | None]  # as the client called it; never used as a path
    format: Mapped[str]  # csv | jsonl | text
    size_bytes: Mapped[int]
    sha256: Mapped[str]
    profile: Mapped[dict[str, Any]]
    deleted_at: Mapped[datetime | None]


class DatasetAlias(InWorkspace, Base):
    """A movable name of a data set."""

    __tablename__ = "dataset_aliases"
    __table_args__ = (UniqueConstraint("workspace_id", "alias"),)

    alias: Mapped[str]
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id"), index=True)
    moved_at: Mapped[datetime] = mapped_column(server_default=func.now())


# Of a job's row: it is a trial that waits or runs.
UNFINISHED_TRIAL = text("sweep_id IS NOT NULL AND state IN ('queued', 'running')")
# Of a job's row: a worker may take it.
CLAIMABLE = text("state = 'queued' AND paused_at IS NULL AND NOT blocked")


class Job(InWorkspace, Base):
    """One piece of work. Every change is one guarded UPDATE in `service.jobs.transitions`."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="jobs_state"
        ),
        CheckConstraint("kind IN ('training', 'prediction')", name="jobs_kind"),
        Index(
            "jobs_claim",
            "workspace_id",
            "queue",
            text("priority DESC"),
            "id",
            postgresql_where=CLAIMABLE,
        ),
        Index("jobs_listed", "workspace_id", "kind", "id"),
        Index("jobs_waiting", "queue", text("priority DESC"), "id", postgresql_where=CLAIMABLE),
        Index(
            "jobs_preempting",
            text("priority DESC"),
            "id",
            postgresql_where=f"{CLAIMABLE} AND preempts",
        ),
        Index("jobs_deadline", "deadline", postgresql_where="state IN ('queued', 'running')"),
        Index("jobs_lease", "lease_expires_at", postgresql_where="state = 'running'"),
        Index("jobs_running_by_workspace", "workspace_id", postgresql_where="state = 'running'"),
        Index(
            "jobs_trial",
            "sweep_id",
            "trial",
            unique=True,
            postgresql_where="sweep_id IS NOT NULL",
        ),
        Index(
            "jobs_unfinished_trials",
            "sweep_id",
            postgresql_where=UNFINISHED_TRIAL,
        ),
        Index("jobs_trained", "sweep_id", postgresql_where="trained IS NOT NULL"),
    )

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    task: Mapped[str]
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id"), index=True)
    kind: Mapped[str] = mapped_column(server_default=text("'training'"))  # jobs.kinds.JobKind
    model_name: Mapped[str]  # that it makes, or predicts with
    # Resolved: rnn.config.TaskConfig or batches.config.BatchConfig, nothing left to guess.
    config: Mapped[dict[str, Any]]
    # service.registry.bases.BaseRecord: what it starts from, or predicts with.
    base: Mapped[dict[str, Any] | None]
    device: Mapped[str]  # auto | cpu | cuda, as asked
    queue: Mapped[str]  # cpu | gpu: which workers may claim it
    priority: Mapped[int] = mapped_column(server_default=text("0"))
    # "metadata" is a name that the declarative base keeps for itself
    labels: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("api_keys.id"))

    state: Mapped[str] = mapped_column(server_default=text("'queued'"))
    attempt: Mapped[int] = mapped_column(server_default=text("0"))  # fences every trainer's write
    crashes_without_progress: Mapped[int] = mapped_column(server_default=text("0"))
    worker_id: Mapped[UUID | None]
    lease_expires_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    pause_requested_at: Mapped[datetime | None]  # of a running job
    preempt_requested_at: Mapped[datetime | None]  # of a running job
    paused_at: Mapped[datetime | None]  # of a queued job: it is held until somebody resumes it
    blocked: Mapped[bool] = mapped_column(server_default=text("false"))  # by `job_dependencies`
    preempts: Mapped[bool] = mapped_column(server_default=text("false"))
    deadline: Mapped[datetime | None]
    sweep_id: Mapped[UUID | None] = mapped_column(ForeignKey("sweeps.id"))
    trial: Mapped[int | None]  # its number in the sweep, from 0
    told_seq: Mapped[int | None]  # of a trial: the last event that the sweep has heard of
    trained: Mapped[dict[str, Any] | None]  # of a trial: service.jobs.endings.TrialNetwork
    result_dataset_id: Mapped[UUID | None] = mapped_column(ForeignKey("datasets.id"))
    checkpoint: Mapped[dict[str, Any] | None]  # service.jobs.progress.Checkpoint
    progress: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    metrics: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    error: Mapped[dict[str, Any] | None]  # type, detail
    last_event_seq: Mapped[int] = mapped_column(server_default=text("0"))
    queued_at: Mapped[datetime] = mapped_column(server_default=func.now())  # or let go again
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Sweep(InWorkspace, Base):
    """Many jobs that differ in a few choices; the best one's network is published."""

    __tablename__ = "sweeps"
    __table_args__ = (
        CheckConstraint(
            "state IN ('running', 'succeeded', 'failed', 'cancelled')", name="sweeps_state"
        ),
        Index("sweeps_running", "id", postgresql_where="state = 'running'"),
    )

    task: Mapped[str]
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id"), index=True)
    model_name: Mapped[str]
    job: Mapped[dict[str, Any]]  # service.jobs.requests.JobRequest: its data set and base are fixed
    space: Mapped[dict[str, Any]]  # service.sweeps.space.Space
    metric: Mapped[str]
    direction: Mapped[str]  # minimize | maximize
    sampler: Mapped[str]  # tpe | random | grid
    pruner: Mapped[str]  # none | median | asha
    max_trials: Mapped[int]
    parallel: Mapped[int | None]  # null: as many trials as there are slots
    max_minutes: Mapped[int | None]
    seed: Mapped[int]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("api_keys.id"))

    state: Mapped[str] = mapped_column(server_default=text("'running'"))
    complete: Mapped[bool] = mapped_column(server_default=text("false"))  # no trial is added
    importance: Mapped[dict[str, Any] | None]  # share of each choice, once there are enough trials
    error: Mapped[dict[str, Any] | None]  # type, detail: why it failed, or added no more trials
    finished_at: Mapped[datetime | None]


class JobDependency(Base):
    """`job_id` is not to start before `after_id` has succeeded."""

    __tablename__ = "job_dependencies"

    job_id: Mapped[UUID] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    after_id: Mapped[UUID] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class JobEvent(Base):
    """What happened to a job, in order: `seq` is dense, given under the lock of the job's row."""

    __tablename__ = "job_events"

    job_id: Mapped[UUID] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    seq: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    type: Mapped[str]  # service.jobs.transitions.EventType
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class JobAttempt(Base):
    """One execution of a job."""

    __tablename__ = "job_attempts"
    __table_args__ = (Index("job_attempts_ended", "ended_at"),)

    job_id: Mapped[UUID] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    attempt: Mapped[int] = mapped_column(primary_key=True)
    worker_id: Mapped[UUID]
    resumed_from_step: Mapped[int | None]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None]  # the reason of the transition that ended it


TRAINED_TIMESTEPS: Final = "trained_timesteps"


class Total(Base):
    """A sum over all times, also over what was deleted since."""

    __tablename__ = "totals"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int]


class Worker(Base):
    """A process that claims jobs. Its row is a claim about the past: look at `seen_at`."""

    __tablename__ = "workers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    hostname: Mapped[str]
    pid: Mapped[int]
    queue: Mapped[str]
    slots: Mapped[int]
    devices: Mapped[dict[str, Any]]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    stopped_at: Mapped[datetime | None]


class Schedule(InWorkspace, Base):
    """A job that is submitted again and again: at the times of `cron`, in `timezone`."""

    __tablename__ = "schedules"
    __table_args__ = (
        UniqueConstraint("workspace_id", "name"),
        Index("schedules_due", "next_run_at", postgresql_where=text("next_run_at IS NOT NULL")),
    )

    name: Mapped[str]
    cron: Mapped[str]  # five fields
    timezone: Mapped[str]  # IANA
    job: Mapped[dict[str, Any]]  # service.jobs.requests.JobRequest, as it was given
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("api_keys.id"))
    next_run_at: Mapped[datetime | None]  # null: it is not enabled
    last_run_at: Mapped[datetime | None]  # when `last_job_id` was submitted
    last_job_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    last_error: Mapped[dict[str, Any] | None]  # why the last time made no job: type, detail, at


class Heartbeat(Base):
    """When a process of which there need only be one was last at work."""

    __tablename__ = "heartbeats"

    name: Mapped[str] = mapped_column(primary_key=True)
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Model(InWorkspace, Base):
    """A name under which versions are published."""

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("workspace_id", "name"),)

    name: Mapped[str]
    task: Mapped[str]


class ModelVersion(WithId, Base):
    """A trained network with its lineage. Immutable but for its card."""

    __tablename__ = "model_versions"
    __table_args__ = (UniqueConstraint("model_id", "version"),)

    model_id: Mapped[UUID] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"))
    version: Mapped[int]
    # No job and no data set: it came with the program, and its card says what it was made of.
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id"), unique=True)
    attempt: Mapped[int]
    dataset_id: Mapped[UUID | None] = mapped_column(ForeignKey("datasets.id"))
    dataset_sha256: Mapped[str | None]
    config: Mapped[dict[str, Any]]
    base: Mapped[dict[str, Any] | None]  # as its job's
    seed: Mapped[int]
    code_version: Mapped[str]
    metrics: Mapped[dict[str, Any]]
    artifact_path: Mapped[str]  # relative to the artifact folder
    artifact_sha256: Mapped[str]  # of the manifest, which holds the digest of every file
    parameters: Mapped[int]
    serving: Mapped[dict[str, Any] | None]  # `rnn.events.Serving`; None: it answers in float32
    card: Mapped[str | None]  # Markdown


class ModelAlias(Base):
    """A movable pointer such as `production`."""

    __tablename__ = "model_aliases"

    model_id: Mapped[UUID] = mapped_column(
        ForeignKey("models.id", ondelete="CASCADE"), primary_key=True
    )
    alias: Mapped[str] = mapped_column(primary_key=True)
    version_id: Mapped[UUID] = mapped_column(ForeignKey("model_versions.id", ondelete="CASCADE"))
    moved_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Deployment(WithId, Base):
    """Append-only log of alias moves. `version_id` is null where the alias was removed."""

    __tablename__ = "deployments"

    model_id: Mapped[UUID] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), index=True)
    alias: Mapped[str]
    version_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("model_versions.id", ondelete="CASCADE")
    )
    previous_version_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("model_versions.id", ondelete="CASCADE")
    )
    reason: Mapped[str]  # trained | shipped | moved | rolled_back | removed


class IdempotencyKey(Base):
    """The stored answer of a creating POST, or the mark that it is still running."""

    __tablename__ = "idempotency_keys"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[str]
    status: Mapped[int | None]  # null: in progress
    body: Mapped[str | None]  # as it was sent
    headers: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
