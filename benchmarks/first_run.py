"""The three tasks on real data through HTTP, each with `task` and `data set` alone.

    make run                                        # in one terminal
    export REPRISE_API_KEY=rp_...                   # the key that it printed
    .venv/bin/python -m benchmarks.first_run --data ../shared/data

Uploads, submits, follows and asks, then prints a Markdown table with times and figures. Nothing is
chosen on the test part: forecasts and sentiment are asked for over HTTP and judged here.
"""

import argparse
import csv
import io
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.data import m4_hourly, sst2, tinyshakespeare
from benchmarks.quality import figures
from benchmarks.service import Run, Service, json_lines, moment

SEASON, HORIZON = 24, 48


def forecasting(service: Service, data: Path, run: Run) -> None:
    train = m4_hourly(data, "train")
    test = m4_hourly(data, "test")
    assert list(test) == list(train)
    table = json_lines([{"id": name, "target": values} for name, values in train.items()])
    service.train(run, service.upload("m4-hourly.jsonl", table), "time-series-forecasting")
    service.post("/forecasts", model=run.name, series=[train["H1"]], horizon=HORIZON)
    run.first_answer = time.time()
    began = time.perf_counter()
    answer = service.post(
        "/forecasts", model=run.name, series=list(train.values()), horizon=HORIZON
    )
    run.figures["seconds to forecast 414 series"] = time.perf_counter() - began
    known, truth_bh = [np.array(values) for values in train.values()], np.array(list(test.values()))
    medians_bh = np.array([forecast["quantiles"]["0.5"] for forecast in answer["forecasts"]])
    naive_bh = figures.seasonal_naive(known, SEASON, HORIZON)
    scale_b = figures.seasonal_scale(known, SEASON)
    run.figures["test MASE"] = figures.mase(medians_bh, truth_bh, scale_b)
    run.figures["seasonal naive"] = figures.mase(naive_bh, truth_bh, scale_b)


def sentiment(service: Service, data: Path, run: Run) -> None:
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerow(("text", "label", "split"))
    for part, split in (("train", "train"), ("dev", "validation")):
        rows.writerows((*pair, split) for pair in sst2(data, part))
    test = sst2(data, "test")
    service.train(run, service.upload("sst2.csv", table.getvalue().encode()), "text-classification")
    service.post("/sentiment", model=run.name, text="A film to remember .")
    run.first_answer = time.time()
    began = time.perf_counter()
    answer = service.post("/sentiment", model=run.name, texts=[text for text, _ in test])
    run.figures[f"seconds to classify {len(test)} texts"] = time.perf_counter() - began
    right = [r["label"] == label for r, (_, label) in zip(answer["results"], test, strict=True)]
    run.figures["test accuracy"] = float(np.mean(right))


def generation(service: Service, data: Path, run: Run) -> None:
    text = tinyshakespeare(data)
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


def row(run: Run) -> str:
    """Times by the clock of this machine, which the service runs on too."""
    steps = run.measurements("step")
    created, last_step = moment(run.job["created_at"]), moment(steps[-1]["data"]["at"])
    cells = [
        run.name,
        f"{run.job['progress']['step']}",
        f"{run.seconds:.0f}",
        f"{moment(steps[0]['created_at']) - created:.2f}",
        f"{moment(run.job['finished_at']) - last_step:.2f}",
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
