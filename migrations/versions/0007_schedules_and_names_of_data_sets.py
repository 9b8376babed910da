"""Jobs submitted on a schedule, movable names of data sets, signs of life"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _record() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        _time("created_at"),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
    ]


def _time(name: str) -> sa.Column[object]:
    now = sa.text("now()")
    return sa.Column(name, sa.DateTime(timezone=True), server_default=now, nullable=False)


def upgrade() -> None:
    op.create_table(
        "dataset_aliases",
        *_record(),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        _time("moved_at"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("workspace_id", "alias"),
    )
    op.create_index("ix_dataset_aliases_workspace_id", "dataset_aliases", ["workspace_id"])
    op.create_index("ix_dataset_aliases_dataset_id", "dataset_aliases", ["dataset_id"])
    op.create_table(
        "schedules",
        *_record(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("job", postgresql.JSONB(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("next_run_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_run_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_job_id", sa.Uuid(), nullable=True),
        sa.Column("last_error", postgresql.JSONB(), nullable=True),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        sa.ForeignKeyConstraint(["created_by"], ["api_keys.id"]),
        sa.ForeignKeyConstraint(["last_job_id"], ["jobs.id"], ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("workspace_id", "name"),
    )
    op.create_index("ix_schedules_workspace_id", "schedules", ["workspace_id"])
    op.create_index(
        "schedules_due",
        "schedules",
        ["next_run_at"],
        postgresql_where=sa.text("next_run_at IS NOT NULL"),
    )
    op.create_table(
        "heartbeats",
        sa.Column("name", sa.Text(), nullable=False),
        _time("seen_at"),
        sa.PrimaryKeyConstraint("name"),
    )
    # As if it had been seen now: it has the usual time to begin before somebody is alarmed.
    op.execute("INSERT INTO heartbeats (name) VALUES ('reaper')")


def downgrade() -> None:
    op.drop_table("heartbeats")
    op.drop_table("schedules")
    op.drop_table("dataset_aliases")
