"""`reprise quota`: what one workspace may have of the machine, in the database itself."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.database import DataFolder, open_database
from service.commands.output import AsJson, print_json, print_table

NONE, DEFAULT = "none", "default"
MOST = 10**9

Limit = Annotated[
    str | None,
    typer.Option(metavar="N|none|default", help="A number, no limit, or that of the settings."),
]
MEANINGS = {
    "queued": "jobs that wait",
    "running": "jobs that are trained at a time",
    "minutes": "of training within 24 hours",
}


def quota(
    workspace: Annotated[str, typer.Option(help="Whose.")] = "default",
    queued: Limit = None,
    running: Limit = None,
    minutes: Limit = None,
    data: DataFolder = Path(".reprise"),
    as_json: AsJson = False,
) -> None:
    """Show what a workspace may have at most, and set what is given; the others stay."""
    given = {"queued": queued, "running": running, "minutes": minutes}
    changes = {name: read_limit(name, text) for name, text in given.items() if text is not None}
    from service.auth.store import get_workspace  # with SQLAlchemy, which most commands do without
    from service.jobs.quotas import set_quota

    with open_database(data) as database, database.transaction() as db:
        owner = get_workspace(db, workspace)
        if changes:
            set_quota(db, owner, changes)
        own = dict(owner.quota)
    limits = {name: own.get(name, DEFAULT) for name in MEANINGS}
    if as_json:
        print_json({"workspace": workspace, **limits})
        return
    rows = [
        (name, NONE if limits[name] is None else limits[name], meaning)
        for name, meaning in MEANINGS.items()
    ]
    print_table(["limit", "at most", "meaning"], rows)


def read_limit(name: str, text: str) -> int | str | None:
    """A number, None for no limit, or `DEFAULT`."""
    if text == NONE:
        return None
    if text == DEFAULT:
        return DEFAULT
    if not (text.isascii() and text.isdigit() and int(text) <= MOST):
        raise typer.BadParameter(
            f"{text!r} is no number up to {MOST}, nor {NONE} or {DEFAULT}",
            param_hint=f"--{name}",
        )
    return int(text)
