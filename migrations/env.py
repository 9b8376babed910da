"""Alembic's entry: the connection comes from the caller, never from a file."""

from alembic import context
from sqlalchemy import Connection

from service.db.tables import Base


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
