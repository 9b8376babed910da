"""A page of a workspace's jobs by an index"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("jobs_listed", "jobs", ["workspace_id", "kind", "id"])
    op.drop_index("ix_jobs_workspace_id", table_name="jobs")


def downgrade() -> None:
    op.create_index("ix_jobs_workspace_id", "jobs", ["workspace_id"])
    op.drop_index("jobs_listed", table_name="jobs")
