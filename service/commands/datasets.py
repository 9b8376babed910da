"""`reprise datasets`: upload data and look at them, through the HTTP API."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from service.commands.client import CommandError, connect
from service.commands.output import (
    AsJson,
    ago,
    console,
    print_json,
    print_record,
    print_table,
    printable,
    size,
)

app = typer.Typer(no_args_is_help=True, help="Upload data sets, list, show and delete them.")

DatasetId = Annotated[UUID, typer.Argument(metavar="DATASET", help="The data set's id.")]


@app.command()
def upload(
    file: Annotated[Path, typer.Argument(help="CSV, JSON Lines or plain text.")],
    name: Annotated[str | None, typer.Option(help="Without it: the file's name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Upload a file; it is checked on arrival and never changes afterwards."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    fields = {"name": name} if name is not None else {}
    screen = console()
    try:
        with (
            connect() as client,
            Progress(*columns, console=screen, disable=as_json or not screen.is_terminal) as bar,
            bar.open(file, "rb", description=printable(file.name)) as content,
        ):
            dataset = client.upload("/datasets", fields=fields, file=(file.name, content))
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.") from error
    if as_json:
        print_json(dataset)
    else:
        typer.echo(f"Uploaded {printable(dataset['name'])} as data set {dataset['id']}.")


@app.command("list")
def list_datasets(
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20, as_json: AsJson = False
) -> None:
    """List data sets, the newest first."""
    with connect() as client:
        page = client.get("/datasets", {"limit": limit})
    if as_json:
        print_json(page)
        return
    rows = [
        (one["id"], one["name"], one["format"], size(one["size_bytes"]), ago(one["created_at"]))
        for one in page["data"]
    ]
    print_table(["id", "name", "format", "size", "uploaded"], rows)
    if page["has_more"]:
        typer.echo(f"There are more: --limit shows up to 200 instead of {limit}.", err=True)


@app.command()
def show(dataset_id: DatasetId, as_json: AsJson = False) -> None:
    """Show a data set and what was found in it."""
    with connect() as client:
        dataset = client.get(f"/datasets/{dataset_id}")
    print_json(dataset) if as_json else print_record(dataset)


@app.command()
def preview(dataset_id: DatasetId, as_json: AsJson = False) -> None:
    """Show the first rows of a data set, as they stand in the file."""
    with connect() as client:
        answer = client.get(f"/datasets/{dataset_id}/preview")
    if as_json:
        print_json(answer)
    else:
        columns = answer["columns"]
        rows = [[row.get(name) for name in columns] for row in answer["rows"]]
        print_table([printable(name) for name in columns], rows)


@app.command()
def delete(dataset_id: DatasetId) -> None:
    """Delete a data set; models that were trained on it stay."""
    with connect() as client:
        client.delete(f"/datasets/{dataset_id}")
    typer.echo(f"Deleted {dataset_id}.")
