"""`reprise predict`: ask a trained model, through the HTTP API."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from service.commands.client import CommandError, connect
from service.commands.output import AsJson, print_json, print_table, printable

app = typer.Typer(no_args_is_help=True, help="Ask a trained model.")

Model = Annotated[
    str, typer.Argument(help="name, name@alias or name:version; bare: name@production.")
]


@app.command()
def forecast(
    model: Model,
    values: Annotated[
        str | None,
        typer.Argument(help="One series, the newest value last: '112,118,null,129'."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="JSON: a list of numbers, a list of such lists, or an object with series, and "
            "start or covariates as the API takes them."
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help="Time of each series' first value, for a model that reads the calendar."),
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(min=1, help="Timesteps. Without it: the model's.")
    ] = None,
    quantile: Annotated[
        list[float] | None, typer.Option(help="A level such as 0.9; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Forecast how series go on."""
    given = _read_series(values, file)
    series = given if isinstance(given, dict) else {"series": given}
    body: dict[str, Any] = {"model": model, **series}
    if start is not None:
        body["start"] = start
    if horizon is not None:
        body["horizon"] = horizon
    if quantile:
        body["quantiles"] = sorted(set(quantile))
    with connect() as client:
        answer = client.post("/forecasts", body)
    if as_json:
        print_json(answer)
        return
    for number, series in enumerate(answer["forecasts"], start=1):
        if len(answer["forecasts"]) > 1:
            typer.echo(f"Series {number}")
        levels = list(series["quantiles"])
        rows = [
            (step, mean, *(series["quantiles"][level][step - 1] for level in levels))
            for step, mean in enumerate(series["mean"], start=1)
        ]
        print_table(["step", "mean", *levels], rows)


@app.command()
def sentiment(
    model: Model,
    texts: Annotated[
        list[str] | None, typer.Argument(help="Without one: each line of the standard input.")
    ] = None,
    all_scores: Annotated[bool, typer.Option(help="Show the score of every label.")] = False,
    attributions: Annotated[
        bool, typer.Option(help="Show what each token adds to the label's log-odds.")
    ] = False,
    attribution_label: Annotated[
        str | None, typer.Option(help="To which label. Without it: to the one that is answered.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Classify texts."""
    asked = texts or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not asked:
        raise typer.BadParameter("there is no text to classify", param_hint="TEXTS")
    body: dict[str, Any] = {
        "model": model,
        "texts": asked,
        "all_scores": all_scores,
        "attributions": attributions,
    }
    if attribution_label is not None:
        body["attribution_label"] = attribution_label
    with connect() as client:
        answer = client.post("/sentiment", body)
    if as_json:
        print_json(answer)
        return
    rows = [
        (
            text,
            result["label"],
            f"{result['score']:.1%}",
            " ".join(f"{one['label']} {one['score']:.1%}" for one in result.get("scores", [])),
        )
        for text, result in zip(asked, answer["results"], strict=True)
    ]
    columns = ["text", "label", "score", "all scores"]
    print_table(columns, rows) if all_scores else print_table(columns[:3], [r[:3] for r in rows])
    if attributions:
        for number, result in enumerate(answer["results"], start=1):
            _print_attributions(number, result["attributions"])


def _print_attributions(number: int, found: dict[str, Any]) -> None:
    """What each token of a text adds, and what that comes to; blanks are written as in JSON."""
    typer.echo(
        f"\nText {number}: what each token adds to the log-odds of {printable(found['label'])}"
    )
    rows: list[tuple[str, str, str]] = []
    for token in found["tokens"]:
        text = token["text"]
        shown = text if text.strip() and text.isprintable() else json.dumps(text)
        rows.append((shown, f"{token['start']}-{token['end']}", f"{token['attribution']:+.4g}"))
    print_table(["token", "characters", "adds"], rows)
    typer.echo(
        f"log-odds {found['log_odds']:.4g}, without any word {found['baseline']:.4g}; the"
        f" attributions miss {abs(found['gap']):.4g} of it"
    )


@app.command()
def generate(
    model: Model,
    prompt: Annotated[str, typer.Argument(help="What the text begins with.")],
    max_new_tokens: Annotated[int | None, typer.Option(min=1)] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="0: the likeliest.")] = None,
    top_k: Annotated[int | None, typer.Option(min=1)] = None,
    top_p: Annotated[float | None, typer.Option(min=0, max=1)] = None,
    min_p: Annotated[float | None, typer.Option(min=0, max=1)] = None,
    repetition_penalty: Annotated[float | None, typer.Option()] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Ends the text.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed, the same text.")] = None,
    as_json: AsJson = False,
) -> None:
    """Continue a text, shown as it is drawn."""
    choices = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "stop": stop or None,
        "seed": seed,
    }
    body: dict[str, Any] = {"model": model, "prompt": prompt}
    body |= {name: value for name, value in choices.items() if value is not None}
    with connect() as client:
        if as_json:
            print_json(client.post("/generations", body))
            return
        with client.stream("POST", "/generations", body=body | {"stream": True}) as events:
            typer.echo(printable(prompt), nl=False)
            for event in events:
                if event.name == "token":
                    typer.echo(printable(event.data["text"]), nl=False)
                    sys.stdout.flush()
                elif event.name == "error":
                    typer.echo()
                    raise CommandError(event.data["detail"])
            typer.echo()


def _read_series(values: str | None, file: Path | None) -> Any:
    if (values is None) == (file is None):
        raise typer.BadParameter("give either the values or --file", param_hint="VALUES")
    if file is not None:
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise CommandError(f"{file} is not JSON: {error}.") from error
    try:
        return json.loads(f"[{(values or '').strip().strip('[]')}]")
    except ValueError:
        raise typer.BadParameter(
            f"{values!r} is not a list of numbers such as 112,118,null,129", param_hint="VALUES"
        ) from None
