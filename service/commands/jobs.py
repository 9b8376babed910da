"""`reprise jobs`: submit trainings and watch them, through the HTTP API."""

import json
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from uuid import UUID

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from service.commands.client import Client, CommandError, ConnectionLostError, ServerEvent, connect
from service.commands.output import (
    AsJson,
    ago,
    console,
    print_json,
    print_record,
    print_table,
    printable,
)

app = typer.Typer(no_args_is_help=True, help="Submit, list, follow and control trainings.")

Task = Literal["time-series-forecasting", "text-classification", "text-generation"]
State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
JobId = Annotated[UUID, typer.Argument(metavar="JOB", help="The job's id.")]
HOLDS = {"paused": "paused", "after": "waiting for other jobs"}
FINAL = ("succeeded", "failed", "cancelled")
# The server shows every five seconds that it is there; a connection silent for longer is dead.
SILENCE_SECONDS = 30.0
RECONNECTIONS = 30


@app.command()
def submit(
    task: Annotated[Task, typer.Option(help="What to learn.")],
    dataset: Annotated[str, typer.Option(help="Id of an uploaded data set, or an alias of one.")],
    model: Annotated[
        str | None, typer.Option(help="Name to publish it under. Without it: the data set's.")
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(help="A version to start from: name, name@alias or name:version."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A choice, e.g. training.max_epochs=3; may be repeated.",
        ),
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where.")] = "auto",
    priority: Annotated[int, typer.Option(help="Higher ones run first.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", help="Then watch it to its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Queue a training. Everything that is not set is chosen for the data."""
    body = read_choices(set_ or [])
    body |= {"task": task, "dataset": dataset, "device": device, "priority": priority}
    if model is not None:
        body["model"] = model
    if base_model is not None:
        body["base_model"] = base_model
    with connect() as client:
        job = client.post("/jobs", body)
        if as_json and not follow:
            print_json(job)
        elif not as_json:
            typer.echo(f"Queued job {job['id']} for the model {printable(job['model'])}.")
        if follow:
            _follow(client, UUID(job["id"]), as_json=as_json)


@app.command("list")
def list_jobs(
    state: Annotated[State | None, typer.Option(help="Only those.")] = None,
    task: Annotated[Task | None, typer.Option(help="Only those.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    params = {"limit": limit, "state": state, "task": task}
    with connect() as client:
        page = client.get("/jobs", {name: value for name, value in params.items() if value})
    if as_json:
        print_json(page)
        return
    rows = [
        (
            job["id"],
            job["task"],
            job["model"],
            job["state"],
            f"{job['progress']['fraction']:.0%}",
            ago(job["created_at"]),
        )
        for job in page["data"]
    ]
    print_table(["id", "task", "model", "state", "done", "submitted"], rows)
    if page["has_more"]:
        typer.echo(f"There are more: --limit shows up to 200 instead of {limit}.", err=True)


@app.command()
def show(job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job with all its choices and its last measurements."""
    with connect() as client:
        job = client.get(f"/jobs/{job_id}")
    print_json(job) if as_json else print_record(job)


@app.command()
def follow(job_id: JobId, as_json: AsJson = False) -> None:
    """Watch a job to its end; exit code 1 unless it succeeds. With --json: its events as lines."""
    with connect() as client:
        _follow(client, job_id, as_json=as_json)


@app.command()
def cancel(job_id: JobId, as_json: AsJson = False) -> None:
    """Cancel a queued job at once, and a running one within seconds."""
    _control(job_id, "cancel", as_json=as_json)


@app.command()
def pause(job_id: JobId, as_json: AsJson = False) -> None:
    """Hold a queued job; a running one is saved first, within seconds."""
    _control(job_id, "pause", as_json=as_json)


@app.command()
def resume(job_id: JobId, as_json: AsJson = False) -> None:
    """Let a paused job go on from where it was saved."""
    _control(job_id, "resume", as_json=as_json)


@app.command()
def retry(job_id: JobId, as_json: AsJson = False) -> None:
    """Queue a job again that failed or was cancelled; a failed one goes on from its checkpoint."""
    _control(job_id, "retry", as_json=as_json)


def _control(job_id: UUID, action: str, *, as_json: bool) -> None:
    with connect() as client:
        job = client.post(f"/jobs/{job_id}/{action}", None)
    if as_json:
        print_json(job)
    elif job["cancel_requested"] and job["state"] == "running":
        typer.echo("The worker is asked to stop it.")
    elif job["pause_requested"]:
        typer.echo("The worker is asked to save it.")
    else:
        typer.echo(f"The job is {HOLDS.get(job['hold'], job['state'])}.")


def read_choices(assignments: list[str]) -> dict[str, Any]:
    """`a.b=1` as `{"a": {"b": 1}}`; a value that is not JSON is a text."""
    body: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        path = name.strip().split(".")
        if not equals or not all(path):
            raise typer.BadParameter(
                f"{assignment!r} is not NAME=VALUE, such as training.max_epochs=3",
                param_hint="--set",
            )
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        place = body
        for part in path[:-1]:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise typer.BadParameter(f"{name!r} contradicts another one", param_hint="--set")
        place[path[-1]] = value
    return body


def _follow(client: Client, job_id: UUID, *, as_json: bool) -> None:
    job = client.get(f"/jobs/{job_id}")
    events = followed_events(client, job_id)
    if as_json:
        for event in events:
            typer.echo(json.dumps(event.data, ensure_ascii=False))
    else:
        _show_progress(job, events)
    job = client.get(f"/jobs/{job_id}")
    if job["state"] != "succeeded":
        reason = f": {printable(job['error']['detail'])}" if job["error"] else ""
        raise CommandError(f"The job {job_id} is {job['state']}{reason}.")
    if not as_json:
        typer.echo(f"Published {printable(job['model'])}:{job['version']}.")
        print_table(["metric", "value"], sorted(job["metrics"].items()))


def followed_events(client: Client, job_id: UUID) -> Iterator[ServerEvent]:
    """A job's events from the first to the last, over as many connections as it takes."""
    last_id = "0"
    failures = 0
    while True:
        try:
            with client.stream(
                "GET",
                f"/jobs/{job_id}/events",
                headers={"Last-Event-ID": last_id},
                silence_seconds=SILENCE_SECONDS,
            ) as events:
                for event in events:
                    failures = 0
                    last_id = event.id or last_id
                    yield event
            if client.get(f"/jobs/{job_id}")["state"] in FINAL:
                return  # it was over, and all its events were seen
        except ConnectionLostError:
            failures += 1
            if failures > RECONNECTIONS:
                raise
        time.sleep(1)


def _show_progress(job: dict[str, Any], events: Iterator[ServerEvent]) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[measured]}", markup=False),
    )
    screen = console()
    with Progress(*columns, console=screen) as progress:
        bar = progress.add_task(
            job["state"],
            total=job["progress"]["total_steps"],
            completed=job["progress"]["step"],
            measured="",
        )
        for event in events:
            data = event.data["data"]
            if event.name == "state":
                progress.update(bar, description=data["to"])
                if data["to"] == "succeeded":
                    # It may have stopped early, before the last possible step.
                    done = progress.tasks[0].completed or 1
                    progress.update(bar, total=done, completed=done)
            elif event.name == "metrics":
                progress.update(bar, **_measured(data))
            elif event.name == "message":
                screen.print(printable(str(data.get("text", ""))), markup=False)
            elif event.name == "alert":
                text = f"{data['kind']}: {data['message']}; what may help: {data['remedy']}"
                screen.print(printable(text), markup=False)


def _measured(data: dict[str, Any]) -> dict[str, Any]:
    """What one measurement changes on the bar."""
    if data.get("kind") == "evaluation":
        metrics = data.get("metrics", {})
        parts = [f"{name} {value:.4g}" for name, value in metrics.items() if value is not None]
        return {"completed": data["step"], "measured": "  ".join(parts[:3])}
    changes: dict[str, Any] = {"completed": data["step"]}
    if data.get("total_steps"):
        changes["total"] = data["total_steps"]
    return changes
