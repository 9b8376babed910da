"""Makes the networks that come with the program: trained by the presets, over HTTP.

    .venv/bin/python -m benchmarks.starters --data ../shared/data --only starter-english

Each is fetched from the service that trained it into `service/starters/<name>`, with its card. Data
are read from the data folder and are not kept; the card says which they were and on what terms.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import data as files
from benchmarks.quality import judges, texts
from benchmarks.quality.rows import Place
from benchmarks.service import Run, Service, json_lines, service_at
from benchmarks.starters.series import generate

FOLDER = Path(__file__).parents[2] / "service" / "starters"
SERIES, SEED = 3_000, 0


@dataclass(frozen=True)
class Starter:
    """One network and what its card says of it.

    Attributes:
        figures: shown from the job's metrics: name there, words on the card.
        judge: figures on data that the network never saw, each with its words.
    """

    name: str
    task: str
    summary: str
    filename: str
    upload: Callable[[Path], bytes]
    choices: Mapping[str, Mapping[str, Any]]
    figures: Mapping[str, str]
    data: str
    limits: str
    judge: Callable[[Service, Path, Run], Mapping[str, str]] | None = None


def _m4(service: Service, data: Path, run: Run) -> dict[str, str]:
    ours, naive = judges.m4(service, run, data), judges.m4_naive(data)
    return {
        f"MASE on M4 Hourly, which it never saw (seasonal naive {naive['MASE']:.3f})": (
            f"{ours['MASE']:.3f}"
        )
    }


def _reviews(service: Service, data: Path, run: Run) -> dict[str, str]:
    share = judges.accuracy(service, run, texts.imdb(data, "test"))["accuracy, %"] / 100
    return {"share of right labels in the 25,000 test reviews": f"{share:.3f}"}


def _generated(_: Path) -> bytes:
    rows = [
        {
            "id": f"series-{number}",
            "values": [None if np.isnan(value) else float(f"{value:.6g}") for value in values],
        }
        for number, values in enumerate(generate(SERIES, SEED))
    ]
    return json_lines(rows)


STARTERS = (
    Starter(
        "starter-forecaster",
        "time-series-forecasting",
        "Forecasts up to 48 timesteps of series that it was never trained on.",
        "generated.jsonl",
        _generated,
        {
            "architecture": {"hidden_size": 128},
            "training": {"max_minutes": 12, "max_epochs": 12},
            "data": {
                "horizon": 48,
                "context_length": 192,
                "season_length": 24,
                "lags": [1, 7, 12, 24],
            },
        },
        {"mase": "MASE on the last horizon of the generated series, which it did not learn from"},
        f"{SERIES:,} generated series (`benchmarks/starters/series.py`, seed {SEED}): seasons of "
        "common lengths, trends, noise, jumps, counts, gaps. No data set is in it.",
        "Yearly and quarterly series with strong trends are forecast worse than by their last "
        "value; a season that does not divide 24 timesteps is seen only within the last 192. A "
        "forecaster trained on your own series is nearly always better.",
        _m4,
    ),
    Starter(
        "starter-sentiment",
        "text-classification",
        "Tells whether an English review is positive or negative.",
        "reviews.jsonl",
        lambda data: texts.labelled_upload(texts.imdb(data, "train")),
        {
            "architecture": {
                "embedding_size": 64,
                "hidden_size": 64,
                "convolution": {"channels": 64, "kernel_size": 3, "pooling": 2},
            },
            "training": {"max_minutes": 10, "max_epochs": 3},
            "data": {"vocabulary_size": 20_000},
        },
        {
            "accuracy": "share of right labels in the held-out tenth of the training reviews",
            "calibration_error": "expected calibration error there",
        },
        "The 25,000 labelled training reviews of the Large Movie Review Dataset: Maas, Daly, Pham, "
        "Huang, Ng and Potts, Learning Word Vectors for Sentiment Analysis, ACL 2011. The reviews "
        "themselves are not part of this project.",
        "Film reviews in English, lower-cased. Other kinds of text, irony and neutral texts are "
        "labelled with more confidence than they deserve. Not for judging people.",
        _reviews,
    ),
    Starter(
        "starter-english",
        "text-generation",
        "Continues English text character by character, in the manner of Shakespeare.",
        "shakespeare.txt",
        lambda data: files.tinyshakespeare(data).encode(),
        {"training": {"max_minutes": 12}},
        {"bits_per_character": "bits per character in the last tenth of the text"},
        "The works of Shakespeare as one file of 1.1 million characters (tinyshakespeare), public "
        "domain.",
        "It knows spelling, metre and the form of a play, and no facts. The language is that of "
        "its time, with its prejudices.",
    ),
)


def make(starter: Starter, service: Service, data: Path) -> None:
    """Trains one and puts it where the program looks for it."""
    run = Run(starter.name)
    dataset = service.upload(starter.filename, starter.upload(data))
    service.train(run, dataset, starter.task, **starter.choices)
    version = service.version(run)
    files_of = {}
    for file in version["files"]:
        path = f"/models/{run.name}/versions/{run.job['version']}/files/{file['name']}"
        files_of[file["name"]] = service.http.get(path).raise_for_status().content
    unseen = starter.judge(service, data, run) if starter.judge else {}
    place = FOLDER / starter.name
    shutil.rmtree(place, ignore_errors=True)
    (place / "model").mkdir(parents=True)
    for name, content in files_of.items():
        (place / "model" / name).write_bytes(content)
    recorded = {
        "metrics": version["metrics"],
        "parameters": version["parameters"],
        "code_version": version["code_version"],
    }
    (place / "starter.json").write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
    (place / "card.md").write_text(_card(starter, run, version, unseen), encoding="utf-8")


def _card(starter: Starter, run: Run, version: Mapping[str, Any], unseen: Mapping[str, str]) -> str:
    where = Place.here("cpu")
    figures = {
        words: f"{version['metrics'][name]:.3f}" for name, words in starter.figures.items()
    } | dict(unseen)
    shown = "\n".join(f"- {words}: {value}" for words, value in figures.items())
    return f"""# {starter.name}

{starter.summary}

## Data

{starter.data}

## Training

`python -m benchmarks.starters --only {starter.name}` on {where.day}, commit {where.commit}:
preset `base` with the choices that the script lists, over HTTP.
{run.job["progress"]["step"]:,} steps in {run.seconds:.0f} s on {where.cores} cores
({where.machine}), {version["parameters"]:,} parameters.

## Figures

{shown}

## Limits

{starter.limits}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--url", help="of a running service; otherwise one is started")
    parser.add_argument("--only", help="names, comma separated")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else [starter.name for starter in STARTERS]
    with service_at(options.url) as service:
        for starter in STARTERS:
            if starter.name in names:
                make(starter, service, options.data)


if __name__ == "__main__":
    main()
