"""Jobs that wait for others, pause and yield, with deadlines and quotas"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TIMES = ("pause_requested_at", "preempt_requested_at", "paused_at", "deadline")
_FLAGS = ("blocked", "preempts")
_QUEUED = "state = 'queued'"
_CLAIMABLE = f"{_QUEUED} AND paused_at IS NULL AND NOT blocked"


def upgrade() -> None:
    quota = sa.Column(
        "quota",
        postgresql.JSONB(astext_type=sa.Text()),
        server_default=sa.text("'{}'"),
        nullable=False,
    )
    op.add_column("workspaces", quota)
    for name in _TIMES:
        op.add_column("jobs", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    for name in _FLAGS:
        flag: sa.Column[bool] = sa.Column(
            name, sa.Boolean(), server_default=sa.text("false"), nullable=False
        )
        op.add_column("jobs", flag)
    op.create_table(
        "job_dependencies",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("after_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["after_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "after_id"),
    )
    op.create_index("ix_job_dependencies_after_id", "job_dependencies", ["after_id"])
    op.drop_index("jobs_claim", "jobs")
    op.create_index(
        "jobs_claim",
        "jobs",
        ["workspace_id", "queue", sa.text("priority DESC"), "id"],
        postgresql_where=sa.text(_CLAIMABLE),
    )
    op.create_index(
        "jobs_waiting",
        "jobs",
        ["queue", sa.text("priority DESC"), "id"],
        postgresql_where=sa.text(_CLAIMABLE),
    )
    op.create_index(
        "jobs_preempting",
        "jobs",
        [sa.text("priority DESC"), "id"],
        postgresql_where=sa.text(f"{_CLAIMABLE} AND preempts"),
    )
    op.create_index(
        "jobs_deadline",
        "jobs",
        ["deadline"],
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )
    op.create_index("job_attempts_ended", "job_attempts", ["ended_at"])


def downgrade() -> None:
    op.drop_index("job_attempts_ended", "job_attempts")
    for index in ("jobs_deadline", "jobs_preempting", "jobs_waiting", "jobs_claim"):
        op.drop_index(index, "jobs")
    op.create_index(
        "jobs_claim",
        "jobs",
        ["queue", sa.text("priority DESC"), "id"],
        postgresql_where=sa.text(_QUEUED),
    )
    op.drop_table("job_dependencies")
    for name in (*_TIMES, *_FLAGS):
        op.drop_column("jobs", name)
    op.drop_column("workspaces", "quota")
