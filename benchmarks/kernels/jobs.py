"""The product's three jobs on real data as a user sends them, by torch alone and by the kernels.

Each is submitted over HTTP with its task and data set alone; what it answers is judged on the test
part. A service is started for each choice, on a free port and in a folder that is thrown away. The
data are looked for in ../shared/data, or where REPRISE_BENCHMARK_DATA says.
"""

import os
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import first_run
from benchmarks.data import m4_hourly
from benchmarks.kernels.measure import Row, say
from benchmarks.service import Run, Service, moment, own_service

CHOICES = {"torch alone (REPRISE_KERNELS=off)": "off", "ours (the default)": "auto"}
QUALITY = {
    "m4-hourly": "test MASE",
    "sst2": "test accuracy",
    "shakespeare": "nats per character, last 10 %",
}
ANSWERS = 30


def jobs(threads: int, *, quick: bool, compile_too: bool) -> list[Row]:
    """Steps per second, the figure on the test part, and how long answers take. The service chooses
    its threads itself."""
    del threads, compile_too
    data = Path(os.environ.get("REPRISE_BENCHMARK_DATA", "../shared/data"))
    rows: list[Row] = []
    for engine, choice in CHOICES.items():
        with own_service(REPRISE_KERNELS=choice) as service:
            for name in ["sst2"] if quick else first_run.TASKS:
                say(f"jobs: {name}, {engine}")
                run = Run(name)
                first_run.TASKS[name](service, data, run)
                rows.append(_steps(run, engine))
                figure = run.figures[QUALITY[name]]
                rows.append(Row("jobs", f"{name}: {QUALITY[name]}", engine, "1", figure))
                rows += _answers(service, run, data, engine)
    return rows


def _steps(run: Run, engine: str) -> Row:
    """The pace between reported steps, so that validations do not count."""
    steps = [
        (event["data"]["step"], moment(event["data"]["at"])) for event in run.measurements("step")
    ]
    paces = [
        (after - before) / (end - start)
        for (before, start), (after, end) in pairwise(steps[2:])
        if end > start
    ]
    return Row(
        "jobs", f"{run.name}: training", engine, "steps/s",
        statistics.median(paces), *statistics.quantiles(paces, n=20)[:: 18],
    )  # fmt: skip


def _answers(service: Service, run: Run, data: Path, engine: str) -> list[Row]:
    """Milliseconds of whole requests, one after the other."""
    requests: dict[str, tuple[str, dict[str, Any]]] = {}
    if run.name == "m4-hourly":
        series = list(m4_hourly(data, "train").values())
        for count in (1, len(series)):
            body = {"model": run.name, "series": series[:count], "horizon": first_run.HORIZON}
            requests[f"forecast of {count} series"] = ("/forecasts", body)
    elif run.name == "sst2":
        text = "A film to remember , and one that asks to be seen again ."
        for count in (1, 256):
            body = {"model": run.name, "texts": [text] * count}
            requests[f"sentiment of {count} texts"] = ("/sentiment", body)
    else:
        body = {"model": run.name, "prompt": "ROMEO:", "max_new_tokens": 500, "seed": 1}
        requests["500 tokens"] = ("/generations", body)
    return [
        _timed(f"{run.name}: {what}", engine, lambda p=path, b=body: service.post(p, **b))
        for what, (path, body) in requests.items()
    ]


def _timed(work: str, engine: str, call: Callable[[], object]) -> Row:
    call()
    times = []
    for _ in range(ANSWERS):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return Row("jobs", work, engine, "ms", statistics.median(times), min(times), max(times))
