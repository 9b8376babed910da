"""`reprise keys`: API keys, made and ended in the database itself, without another key."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from service.auth.subjects import ALL_SCOPES, Scope
from service.commands.database import DataFolder, artifact_store, open_database
from service.commands.output import AsJson, ago, print_json, print_table

if TYPE_CHECKING:
    from service.db.tables import ApiKey

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys, in the database.")

Workspace = Annotated[str, typer.Option(help="Whose keys.")]
MAX_LISTED = 10_000


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for, as it is listed.")],
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="May be repeated. Without it: everything but managing keys."),
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="Everything.")] = False,
    days: Annotated[
        float | None, typer.Option(min=0, help="Days until it ends. Without it: never.")
    ] = None,
    workspace: Workspace = "default",
    data: DataFolder = Path(".reprise"),
    as_json: AsJson = False,
) -> None:
    """Make a key and print it; it cannot be shown again."""
    if admin and scope:
        raise typer.BadParameter("give either --scope or --admin", param_hint="--admin")
    scopes = ALL_SCOPES if admin else scope or ALL_SCOPES - {Scope.KEYS_ADMIN}
    ends = None if days is None else datetime.now(UTC) + timedelta(days=days)
    from service.auth import store  # with SQLAlchemy, which most commands can do without
    from service.registry.starters import open_workspace

    with open_database(data) as database, database.transaction() as db:
        owner = open_workspace(db, lambda: artifact_store(data), workspace)
        key, plain = store.create_key(db, owner.id, name, scopes, ends)
        view = _view(key)
    if as_json:
        print_json(view | {"key": plain})
    else:
        typer.echo(plain)


@app.command("list")
def list_keys(
    workspace: Workspace = "default",
    data: DataFolder = Path(".reprise"),
    as_json: AsJson = False,
) -> None:
    """List the keys, without their secrets."""
    from service.auth import store
    from service.db.paging import PageRequest, read_page
    from service.db.tables import ApiKey

    with open_database(data) as database, database.transaction() as db:
        owner = store.get_workspace(db, workspace)
        keys, _ = read_page(
            db, ApiKey, ApiKey.workspace_id == owner.id, PageRequest(limit=MAX_LISTED)
        )
        views = [_view(key) for key in keys]
    if as_json:
        print_json(views)
        return
    rows = [
        (v["id"], v["name"], " ".join(v["scopes"]), ago(v["last_used_at"]), v["state"])
        for v in views
    ]
    print_table(["id", "name", "scopes", "last used", "state"], rows)


@app.command()
def revoke(
    key_id: Annotated[UUID, typer.Argument(help="The id that `reprise keys list` shows.")],
    workspace: Workspace = "default",
    data: DataFolder = Path(".reprise"),
) -> None:
    """End a key; every API process refuses it within seconds."""
    from service.auth import store

    with open_database(data) as database, database.transaction() as db:
        owner = store.get_workspace(db, workspace)
        store.revoke_key(db, owner.id, key_id)
    typer.echo(f"Revoked {key_id}.")


def _view(key: "ApiKey") -> dict[str, Any]:
    now = datetime.now(UTC)
    if key.revoked_at is not None:
        state = "revoked"
    elif key.expires_at is not None and key.expires_at <= now:
        state = "expired"
    else:
        state = "valid"
    return {
        "id": str(key.id),
        "name": key.name,
        "scopes": list(key.scopes),
        "state": state,
        "created_at": key.created_at.isoformat(),
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        "last_used_at": key.last_used_at.isoformat() if key.last_used_at else None,
    }
