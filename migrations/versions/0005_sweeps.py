"""Sweeps, and jobs that are their trials"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TRIAL = ("sweep_id", "trial", "told_seq", "trained")


def upgrade() -> None:
    op.create_table(
        "sweeps",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("job", postgresql.JSONB(), nullable=False),
        sa.Column("space", postgresql.JSONB(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("sampler", sa.Text(), nullable=False),
        sa.Column("pruner", sa.Text(), nullable=False),
        sa.Column("max_trials", sa.BigInteger(), nullable=False),
        sa.Column("parallel", sa.BigInteger(), nullable=True),
        sa.Column("max_minutes", sa.BigInteger(), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("state", sa.Text(), server_default=sa.text("'running'"), nullable=False),
        sa.Column("complete", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("importance", postgresql.JSONB(), nullable=True),
        sa.Column("error", postgresql.JSONB(), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('running', 'succeeded', 'failed', 'cancelled')", name="sweeps_state"
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"]),
        sa.ForeignKeyConstraint(["created_by"], ["api_keys.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_sweeps_workspace_id", "sweeps", ["workspace_id"])
    op.create_index("ix_sweeps_dataset_id", "sweeps", ["dataset_id"])
    op.create_index(
        "sweeps_running", "sweeps", ["id"], postgresql_where=sa.text("state = 'running'")
    )
    op.add_column("jobs", sa.Column("sweep_id", sa.Uuid(), nullable=True))
    op.add_column("jobs", sa.Column("trial", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("told_seq", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("trained", postgresql.JSONB(), nullable=True))
    op.create_foreign_key("jobs_sweep_id_fkey", "jobs", "sweeps", ["sweep_id"], ["id"])
    op.create_index(
        "jobs_trial",
        "jobs",
        ["sweep_id", "trial"],
        unique=True,
        postgresql_where=sa.text("sweep_id IS NOT NULL"),
    )
    op.create_index(
        "jobs_unfinished_trials",
        "jobs",
        ["sweep_id"],
        postgresql_where=sa.text("sweep_id IS NOT NULL AND state IN ('queued', 'running')"),
    )
    op.create_index(
        "jobs_trained", "jobs", ["sweep_id"], postgresql_where=sa.text("trained IS NOT NULL")
    )


def downgrade() -> None:
    op.execute("DROP SCHEMA IF EXISTS optuna CASCADE")  # was made on first use
    for name in _TRIAL:
        op.drop_column("jobs", name)
    op.drop_table("sweeps")
