"""How a version answers: its precision, chosen when it is published"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column("serving", postgresql.JSONB(astext_type=sa.Text()), nullable=True)
    op.add_column("model_versions", column)


def downgrade() -> None:
    op.drop_column("model_versions", "serving")
