"""Brings the database of an instance to the newest schema and, once, into use."""

from service.artifacts.store import ArtifactStore
from service.auth.store import create_key
from service.auth.subjects import ALL_SCOPES
from service.db.engine import Database, make_engine
from service.db.migrate import migrate
from service.db.paging import PageRequest, read_page
from service.db.tables import ApiKey
from service.registry.starters import open_workspace
from service.settings import Settings

WORKSPACE = "default"


def prepare_database(settings: Settings) -> str | None:
    """Migrates; the first time it makes the workspace `default`, with the networks that come with
    the program, and returns its admin key."""
    database = Database(make_engine(settings))
    try:
        migrate(database.engine)
        with database.transaction() as db:
            workspace = open_workspace(db, lambda: ArtifactStore(settings.artifact_dir), WORKSPACE)
            keys, _ = read_page(
                db, ApiKey, ApiKey.workspace_id == workspace.id, PageRequest(limit=1)
            )
            if keys:
                return None
            _, key = create_key(db, workspace.id, "admin", ALL_SCOPES)
        return key
    finally:
        database.close()
