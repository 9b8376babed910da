"""Sums over all times"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    totals = op.create_table(
        "totals",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.bulk_insert(totals, [{"name": "trained_timesteps", "value": 0}])


def downgrade() -> None:
    op.drop_table("totals")
