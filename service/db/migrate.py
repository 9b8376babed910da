"""Brings a database to the newest schema; safe to call from several processes at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
LOCK = 0x5265_7072  # one migration at a time, whoever starts it


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def migrate(engine: Engine) -> tuple[str | None, str | None]:
    """Upgrades to the newest revision; returns the revisions before and after."""
    config = alembic_config()
    newest = ScriptDirectory.from_config(config).get_current_head()
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        before = MigrationContext.configure(connection).get_current_revision()
        if before != newest:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    return before, newest
