"""Networks that came with the program: versions without a job, with a card"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_LINEAGE = ("job_id", "dataset_id", "dataset_sha256")


def upgrade() -> None:
    for column in _LINEAGE:
        op.alter_column("model_versions", column, nullable=True)
    op.add_column("model_versions", sa.Column("card", sa.Text(), nullable=True))


def downgrade() -> None:
    # The older program knows no version without a job.
    op.execute("DELETE FROM model_versions WHERE job_id IS NULL")
    op.execute("DELETE FROM models WHERE id NOT IN (SELECT model_id FROM model_versions)")
    op.drop_column("model_versions", "card")
    for column in _LINEAGE:
        op.alter_column("model_versions", column, nullable=False)
