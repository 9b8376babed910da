"""The three tasks on real data through HTTP, each with `task` and `data set` alone.

    make run                                        # in one terminal
    export REPRISE_API_KEY=rp_...                   # the key that it printed
    .venv/bin/python benchmarks/first_run.py --data ../shared/data

Uploads, submits, follows and asks, then prints a Markdown table with times and figures. Nothing is
chosen on the test part: forecasts and sentiment are asked for over HTTP and judged here.
"""

import argparse
import csv
import gzip
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np

SEASON, HORIZON = 24, 48
IDLE_SECONDS = 6  # in which a worker gets its next trainer ready


@dataclass
class Run:
    """What one job showed."""

    name: str
    job: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    first_answer: float = 0.0  # seconds since 1970
    figures: dict[str, float] = field(default_factory=dict)


class Service:
    def __init__(self, url: str, key: str) -> None:
        self.http = httpx.Client(
            base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=120
        )

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.http.post(path, json=body)
        if answer.is_error:
            sys.exit(f"{path}: {answer.status_code} {answer.text[:500]}")
        found: dict[str, Any] = answer.json()
        return found

    def upload(self, name: str, content: bytes) -> str:
        answer = self.http.post("/datasets", files={"file": (name, content)})
        if answer.is_error:
            sys.exit(f"{name}: {answer.status_code} {answer.text[:500]}")
        return str(answer.json()["id"])

    def train(self, run: Run, dataset: str, task: str) -> None:
        """Submits with task and data set alone and follows the job to its end."""
        time.sleep(IDLE_SECONDS)
        job = self.post("/jobs", task=task, dataset=dataset, model=run.name)
        for event in self.follow(job["id"]):
            run.events.append(event)
            if event["type"] == "metrics":
                print(f"\r{run.name}: {json.dumps(event['data'])[:150]:150}", end="", flush=True)
        print()
        run.job = self.http.get(f"/jobs/{job['id']}").json()
        if run.job["state"] != "succeeded":
            sys.exit(f"{run.name}: {run.job['state']}: {run.job['error']}")

    def follow(self, job_id: str) -> Iterator[dict[str, Any]]:
        path, headers = f"/jobs/{job_id}/events", {"Accept": "text/event-stream"}
        with self.http.stream("GET", path, headers=headers, timeout=60) as lines:
            for line in lines.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line[5:])


def read(path: Path) -> str:
    if not path.exists():
        sys.exit(f"{path} is missing: point --data at the folder that holds it")
    return gzip.decompress(path.read_bytes()).decode("utf-8")


def m4_hourly(path: Path) -> dict[str, list[float]]:
    rows = csv.reader(io.StringIO(read(path)))
    next(rows)
    return {row[0]: [float(cell) for cell in row[1:] if cell] for row in rows}


def forecasting(service: Service, data: Path, run: Run) -> None:
    train = m4_hourly(data / "m4" / "Hourly-train.csv.gz")
    test = m4_hourly(data / "m4" / "Hourly-test.csv.gz")
    lines = [json.dumps({"id": name, "target": values}) for name, values in train.items()]
    service.train(
        run, service.upload("m4-hourly.jsonl", "\n".join(lines).encode()), "time-series-forecasting"
    )
    service.post("/forecasts", model=run.name, series=[train["H1"]], horizon=HORIZON)
    run.first_answer = time.time()
    began = time.perf_counter()
    answer = service.post(
        "/forecasts", model=run.name, series=list(train.values()), horizon=HORIZON
    )
    run.figures["seconds to forecast 414 series"] = time.perf_counter() - began
    errors, naive = [], []
    for (name, history), forecast in zip(train.items(), answer["forecasts"], strict=True):
        truth, known = np.array(test[name]), np.array(history)
        scale = np.mean(np.abs(known[SEASON:] - known[:-SEASON]))
        middle = np.array(forecast["quantiles"]["0.5"])
        errors.append(np.mean(np.abs(truth - middle)) / scale)
        repeated = np.tile(known[-SEASON:], HORIZON // SEASON)
        naive.append(np.mean(np.abs(truth - repeated)) / scale)
    run.figures["test MASE"] = float(np.mean(errors))
    run.figures["seasonal naive"] = float(np.mean(naive))


def sentiment(service: Service, data: Path, run: Run) -> None:
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerow(("text", "label", "split"))
    names = {"0": "negative", "1": "positive"}
    test: list[tuple[str, str]] = []
    for part, split in (("train", "train"), ("dev", "validation"), ("test", "test")):
        for line in read(data / "sent_conv" / f"stsa.binary.{part}.gz").splitlines():
            label, _, text = line.partition(" ")
            if split == "test":
                test.append((text, names[label]))
            else:
                rows.writerow((text, names[label], split))
    service.train(run, service.upload("sst2.csv", table.getvalue().encode()), "text-classification")
    service.post("/sentiment", model=run.name, text="A film to remember .")
    run.first_answer = time.time()
    began = time.perf_counter()
    answer = service.post("/sentiment", model=run.name, texts=[text for text, _ in test])
    run.figures[f"seconds to classify {len(test)} texts"] = time.perf_counter() - began
    right = [r["label"] == label for r, (_, label) in zip(answer["results"], test, strict=True)]
    run.figures["test accuracy"] = float(np.mean(right))


def generation(service: Service, data: Path, run: Run) -> None:
    text = read(data / "tinyshakespeare" / "input.txt.gz")
    service.train(run, service.upload("tinyshakespeare.txt", text.encode()), "text-generation")
    service.post("/generations", model=run.name, prompt="ROMEO:", max_new_tokens=1, seed=1)
    run.first_answer = time.time()
    began = time.perf_counter()
    answer = service.post(
        "/generations", model=run.name, prompt="ROMEO:", max_new_tokens=500, temperature=0.8, seed=1
    )
    run.figures["seconds for 500 tokens, one stream"] = time.perf_counter() - began
    run.figures["nats per character, last 10 %"] = run.job["metrics"]["loss_nats"]
    print(answer["choices"][0]["text"][:400])


TASKS: dict[str, Callable[[Service, Path, Run], None]] = {
    "m4-hourly": forecasting,
    "sst2": sentiment,
    "shakespeare": generation,
}


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def row(run: Run) -> str:
    """Times by the clock of this machine, which the service runs on too."""
    steps = [
        event
        for event in run.events
        if event["type"] == "metrics" and event["data"]["kind"] == "step"
    ]
    created, ended = seconds(run.job["created_at"]), seconds(run.job["finished_at"])
    last_step = seconds(steps[-1]["data"]["at"])
    cells = [
        run.name,
        f"{run.job['progress']['step']}",
        f"{ended - created:.0f}",
        f"{seconds(steps[0]['created_at']) - created:.2f}",
        f"{ended - last_step:.2f}",
        f"{run.first_answer - last_step:.2f}",
        "; ".join(f"{name} {value:.4g}" for name, value in run.figures.items()),
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--url", default=os.environ.get("REPRISE_URL", "http://127.0.0.1:8000"))
    parser.add_argument("--only", choices=list(TASKS), action="append")
    options = parser.parse_args()
    service = Service(options.url, os.environ["REPRISE_API_KEY"])
    runs = []
    for name in options.only or TASKS:
        runs.append(Run(name))
        TASKS[name](service, options.data, runs[-1])
    print("\n| job | steps | seconds | submit to first step | last step to published | "
          "last step to first answer | figures |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for run in runs:
        print(row(run))


if __name__ == "__main__":
    main()
