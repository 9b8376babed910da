"""Trainings that start from an existing version"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLES = ("jobs", "model_versions")


def upgrade() -> None:
    for table in _TABLES:
        column = sa.Column("base", postgresql.JSONB(astext_type=sa.Text()), nullable=True)
        op.add_column(table, column)


def downgrade() -> None:
    for table in _TABLES:
        op.drop_column(table, "base")
