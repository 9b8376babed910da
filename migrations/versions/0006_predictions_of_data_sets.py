"""Jobs that predict a whole data set"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kind = sa.Column("kind", sa.Text(), server_default=sa.text("'training'"), nullable=False)
    op.add_column("jobs", kind)
    op.create_check_constraint("jobs_kind", "jobs", "kind IN ('training', 'prediction')")
    op.add_column("jobs", sa.Column("result_dataset_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        "jobs_result_dataset_id_fkey", "jobs", "datasets", ["result_dataset_id"], ["id"]
    )


def downgrade() -> None:
    op.drop_column("jobs", "result_dataset_id")
    op.drop_constraint("jobs_kind", "jobs")
    op.drop_column("jobs", "kind")
