"""`reprise`: starts the processes, keeps the database, and talks to the HTTP API."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from service.commands import datasets, jobs, keys, predict
from service.commands.client import CommandError
from service.commands.database import DataFolder, open_database
from service.commands.probe import probe
from service.commands.quotas import quota
from service.embedded.children import StartError
from service.errors import ServiceError

app = typer.Typer(
    name="reprise",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train recurrent networks on your sequences and serve them.",
)
app.add_typer(keys.app, name="keys")
app.add_typer(datasets.app, name="datasets")
app.add_typer(jobs.app, name="jobs")
app.add_typer(predict.app, name="predict")
app.command()(probe)
app.command()(quota)


@app.command()
def up(
    data: Annotated[Path, typer.Option(help="Folder for everything that is kept.")] = Path(
        ".reprise"
    ),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Jobs trained at the same time.")] = 1,
    stop_with_parent: Annotated[
        int | None,
        typer.Option(metavar="PID", help="End when this process, which called, dies."),
    ] = None,
) -> None:
    """Run all of it on this machine: PostgreSQL, Redis, API, worker and reaper."""
    from service.embedded import supervisor  # here: what is above starts in a fraction of the time

    supervisor.up(
        data,
        host=host,
        port=port,
        slots=workers,
        say=_say,
        parent=stop_with_parent,
    )


@app.command()
def migrate(data: DataFolder = Path(".reprise")) -> None:
    """Bring the database to the newest schema."""
    from service.db import migrate as schema

    with open_database(data) as database:
        before, after = schema.migrate(database.engine)
    if before == after:
        typer.echo(f"The schema is up to date ({after}).")
    else:
        typer.echo(f"The schema moved from {before or 'nothing'} to {after}.")


@app.command()
def api() -> None:
    """Run the HTTP API, configured by REPRISE_*."""
    _become("service.serve")


@app.command()
def worker() -> None:
    """Run a worker that trains jobs, configured by REPRISE_*."""
    _become("workers.app")


@app.command()
def reaper() -> None:
    """Run the reaper that finds lost jobs, configured by REPRISE_*."""
    _become("workers.reaper")


def main() -> None:
    """The program: a failure is one sentence, with exit code 2 where something cannot start."""
    try:
        app()
    except StartError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except (CommandError, ServiceError) as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(1)


def _become(module: str) -> None:
    """Turns into another of our programs, so that signals and exit codes are its own."""
    # -P: a folder named like one of our packages where we were started is not imported.
    command = [sys.executable, "-P", "-m", module]
    os.execv(command[0], command)  # noqa: S606  # no shell is wanted


def _say(sentence: str) -> None:
    """Prints, also when whoever read it is gone: that must not keep us from stopping in order."""
    try:
        typer.echo(sentence)
        sys.stdout.flush()
    except OSError:
        pass


if __name__ == "__main__":
    main()
