"""How soon a page of the dashboard is there, beside 100,000 jobs, and what it weighs.

    python -m benchmarks.dashboard --out benchmarks/results/dashboard.md

It needs Chromium and the development packages.
"""

import argparse
import statistics
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from playwright.sync_api import Browser, sync_playwright
from sqlalchemy import create_engine, text

from benchmarks.quality.rows import Place
from benchmarks.service import Service, own_service
from rnn.config import GenerationConfig
from tests.browser.chromium import find_chromium

JOBS = 100_000
ROUNDS = 20
WEIGHT_BYTES, READY_MS, PAGE_MS = 300_000, 1_000, 1_000
CHARTS = "echarts"
# Of 1,000 jobs 989 succeeded, 10 were cancelled and one failed.
FILL = text(
    """
    INSERT INTO jobs (workspace_id, task, dataset_id, model_name, config, device, queue, state,
                      attempt, started_at, finished_at, last_event_seq)
    SELECT workspace_id, 'text-generation', id, 'model-' || n % 50, CAST(:config AS jsonb), 'auto',
           'cpu', CASE WHEN n % 1000 = 0 THEN 'failed' WHEN n % 100 = 0 THEN 'cancelled'
                       ELSE 'succeeded' END, 1, now(), now(), 0
    FROM generate_series(1, :count) n, datasets
    """
)
PAGES = {
    "the overview": "/",
    "all jobs, the newest": "/jobs",
    "those of a rare state": "/jobs?state=failed",
    "those of a state that none is in": "/jobs?state=running",
    "those of a task that none has": "/jobs?task=time-series-forecasting",
    "the data set that all are of": "/datasets/{dataset}",
    "the page of one": "/jobs/{job}",
    "the same over HTTP, 200 of them": "/api/v1/jobs?limit=200",
}


@dataclass(frozen=True)
class Opened:
    """A first visit, with nothing kept by the browser."""

    sizes: Counter[str]  # bytes that were transferred, by address
    ready_ms: float  # until every script of the page had run


def fill(service: Service) -> tuple[str, str]:
    """Writes the jobs; returns a path to a page in the middle of them, and the id of one."""
    config = GenerationConfig(task="text-generation").model_dump_json()
    parts = psutil.Process(service.pid).children(recursive=True)
    server = next(part for part in parts if "service.serve" in part.cmdline())
    engine = create_engine(server.environ()["REPRISE_DATABASE_URL"])
    with engine.begin() as db:
        db.execute(FILL, {"count": JOBS, "config": config})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        db.execute(text("ANALYZE jobs"))
        ids = db.execute(text("SELECT id FROM jobs ORDER BY id")).scalars().all()
    engine.dispose()
    return f"/jobs?after={ids[len(ids) // 2]}", str(ids[len(ids) // 2])


def timed(http: httpx.Client, path: str) -> tuple[float, float, int]:
    """Milliseconds at the median and at the 95th of 100, and bytes."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        answer = http.get(path).raise_for_status()
        found.append(1e3 * (time.perf_counter() - began))
    return statistics.median(found), sorted(found)[int(0.95 * ROUNDS)], len(answer.content)


def opened(browser: Browser, url: str, key: str, path: str) -> Opened:
    """Opens a page in a browser that has only just signed in."""
    context = browser.new_context(base_url=url)
    page = context.new_page()
    page.goto("/sign-in")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Overview").wait_for()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    urls: dict[str, str] = {}
    sizes: Counter[str] = Counter()

    def asked(event: dict[str, Any]) -> None:
        urls[event["requestId"]] = event["request"]["url"]

    def loaded(event: dict[str, Any]) -> None:
        sizes[urls.get(event["requestId"], "")] += int(event["encodedDataLength"])

    session.on("Network.requestWillBeSent", asked)
    session.on("Network.loadingFinished", loaded)
    page.goto(path, wait_until="load")
    ready_ms = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    page.wait_for_timeout(500)
    context.close()
    return Opened(sizes, float(ready_ms))


def verdict(found: float, most: float) -> str:
    return "reached" if found < most else "**missed**"


def page(rows: list[str], visits: list[Opened]) -> str:
    """The figures as Markdown."""
    place = Place.here("cpu")
    light = sum(size for path, size in visits[0].sizes.items() if CHARTS not in path)
    charts = sum(size for path, size in visits[0].sizes.items() if CHARTS in path)
    ready = statistics.median(visit.ready_ms for visit in visits)
    lines = [
        "# The dashboard",
        "",
        f"`python -m benchmarks.dashboard`: a service with {JOBS:,} jobs, each page asked for "
        f"{ROUNDS} times one after",
        "the other; and the overview opened in Chromium, with nothing kept from before.",
        "",
        f"{place.machine}, {place.cores} cores, commit {place.commit}, {place.day}.",
        "",
        "| page | p50 ms | p95 ms | kB | p95 under a second |",
        "| --- | ---: | ---: | ---: | --- |",
        *rows,
        "",
        "| first page | found | to reach | |",
        "| --- | ---: | ---: | --- |",
        f"| transferred apart from the charts, kB | {light / 1e3:.0f} | {WEIGHT_BYTES / 1e3:.0f} "
        f"| {verdict(light, WEIGHT_BYTES)} |",
        f"| the charts, kB | {charts / 1e3:.0f} | | |",
        f"| all its scripts have run after, ms, median of {len(visits)} | {ready:.0f} | {READY_MS} "
        f"| {verdict(ready, READY_MS)} |",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dashboard", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--out", type=Path, help="where the page goes")
    options = parser.parse_args()
    rows = []
    with own_service() as service, sync_playwright() as playwright:
        url = str(service.http.base_url).removesuffix("/api/v1/")
        key = service.http.headers["Authorization"].removeprefix("Bearer ")
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        visits = [opened(browser, url, key, "/") for _ in range(5)]
        browser.close()
        dataset = service.upload("verses.txt", b"a line of a verse\n" * 100)
        middle, job = fill(service)
        with httpx.Client(base_url=url, headers=service.http.headers, timeout=60) as http:
            for name, path in {**PAGES, "all jobs, from the middle": middle}.items():
                p50, p95, size = timed(http, path.format(dataset=dataset, job=job))
                rows.append(
                    f"| {name} | {p50:.0f} | {p95:.0f} | {size / 1e3:.0f} "
                    f"| {verdict(p95, PAGE_MS)} |"
                )
    found = page(rows, visits)
    print(found)
    if options.out is not None:
        options.out.write_text(found, encoding="utf-8")


if __name__ == "__main__":
    main()
