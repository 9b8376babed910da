"""The database that a command works on without the API: that of the environment or of a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import SecretStr, ValidationError

from service.commands.client import CommandError
from service.embedded.instance import running_instance
from service.settings import Settings, describe

if TYPE_CHECKING:
    from service.artifacts.store import ArtifactStore
    from service.db.engine import Database

DataFolder = Annotated[
    Path,
    typer.Option(
        "--data", help="Folder of the instance that `reprise up` runs, without a database URL."
    ),
]


@contextmanager
def open_database(data: Path) -> Iterator["Database"]:
    """The database of the settings, or that of the instance that runs on the folder `data`."""
    # Here and below: most commands talk to the API and start sooner without SQLAlchemy.
    from sqlalchemy.exc import ArgumentError, OperationalError

    from service.db.engine import Database, make_engine

    try:
        database = Database(make_engine(_settings(data, needs_artifacts=False)))
    except ArgumentError as error:
        raise CommandError("REPRISE_DATABASE_URL is not the URL of a database.") from error
    try:
        yield database
    except OperationalError as error:
        raise CommandError(f"The database does not answer: {error.orig}") from error
    finally:
        database.close()


def artifact_store(data: Path) -> "ArtifactStore":
    """The artifacts that go with that database, from the same settings or the same folder."""
    from service.artifacts.store import ArtifactStore

    return ArtifactStore(_settings(data, needs_artifacts=True).artifact_dir)


def _settings(data: Path, *, needs_artifacts: bool) -> Settings:
    given: dict[str, Any] = {"redis_url": SecretStr("")}  # no command needs Redis
    if not needs_artifacts:
        given["artifact_dir"] = Path()
    try:
        return Settings(**given)
    except ValidationError as error:
        missing = {fault["loc"][0] for fault in error.errors() if fault["type"] == "missing"}
        if len(missing) < error.error_count():
            raise CommandError(describe(error)) from error
        if "database_url" not in missing:
            raise CommandError(
                "Set REPRISE_ARTIFACT_DIR as the API has it: a new workspace gets the networks that"
                " come with the program, and they are stored there."
            ) from error
    given |= {
        "database_url": SecretStr(_embedded_url(data)),
        "artifact_dir": data.absolute() / "artifacts",
    }
    return Settings(**given)


def _embedded_url(data: Path) -> str:
    from service.embedded.postgres import EmbeddedPostgres

    folder = data.absolute()
    running = running_instance(folder)
    if running is None:
        raise CommandError(
            f"No instance runs on {folder}: start it with `reprise up`, or set"
            " REPRISE_DATABASE_URL to the database of another one."
        )
    if "runtime" not in running:
        raise CommandError(f"The instance on {folder} is still starting.")
    return EmbeddedPostgres(folder, Path(str(running["runtime"]))).url()
