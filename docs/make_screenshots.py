"""Takes the pictures of docs/dashboard.md: every page, of an instance that it starts and fills.

    python -m docs.make_screenshots

It needs Chromium, and a few minutes for the trainings.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from benchmarks.service import Service, own_service
from tests.browser.chromium import find_chromium

FOLDER = Path(__file__).parent
PICTURES = FOLDER / "screenshots"
STEPS = 5  # of a live session
TRAININGS = {
    "demand": ("demand.csv", "time-series-forecasting"),
    "reviews": ("reviews.csv", "text-classification"),
    "verses": ("verses.txt", "text-generation"),
}


def fill(service: Service) -> dict[str, str]:
    """Data sets, a job of each task, a second version, a sweep; returns the ids by name."""
    ids = {}
    for model, (name, task) in TRAININGS.items():
        ids[name] = service.upload(name, (FOLDER / "examples" / name).read_bytes())
        ids[model] = service.post("/jobs", task=task, dataset=ids[name], model=model)["id"]
    forecaster = {"task": "time-series-forecasting", "dataset": ids["demand.csv"]}
    small = {"architecture": {"num_layers": 1}, "training": {"max_epochs": 5, "seed": 2}}
    ids["second"] = service.post("/jobs", **forecaster, model="demand", **small)["id"]
    space = {
        "training.learning_rate": {"type": "float", "low": 1e-4, "high": 0.05, "log": True},
        "architecture.hidden_size": {"type": "int", "low": 8, "high": 64},
        "architecture.cell": {"type": "categorical", "choices": ["lstm", "gru", "mingru"]},
    }
    trial = {**forecaster, "model": "swept", "training": {"max_epochs": 2}}
    sweep = service.post("/sweeps", job=trial, space=space, max_trials=12, pruner="none")
    ids["sweep"] = sweep["id"]
    while service.http.get(f"/sweeps/{sweep['id']}").json()["state"] in ("queued", "running"):
        time.sleep(1)
    return ids


def ask(page: Page, model: str, button: str) -> None:
    """An answer on the page that tries a model."""
    page.goto(f"/try?model={model}")
    page.get_by_role("button", name=button).click()
    expect(page.locator("#read")).to_contain_text(re.compile("[0-9]"))
    page.get_by_role("button", name="Begin").click()
    for _ in range(STEPS):
        expect(page.get_by_role("button", name="Step")).to_be_enabled()
        page.get_by_role("button", name="Step").click()


def watch(page: Page) -> None:
    """The overview, once there is a line of the loss."""
    page.goto("/")
    expect(page.locator("svg.line")).to_be_visible(timeout=30_000)


def find_settings(page: Page) -> None:
    """Some of them: all are a long page."""
    page.goto("/settings")
    page.get_by_label("Find").fill("bytes")


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with own_service() as service, sync_playwright() as playwright:
        url = str(service.http.base_url).removesuffix("/api/v1/")
        key = service.http.headers["Authorization"].removeprefix("Bearer ")
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        ids = fill(service)

        def look(name: str, show: Callable[[Page], object], **options: object) -> None:
            context = browser.new_context(
                base_url=url, viewport={"width": 1280, "height": 800}, **options
            )
            page = context.new_page()
            page.goto("/sign-in")
            page.get_by_label("API key").fill(key)
            if name != "sign-in":
                page.get_by_role("button", name="Sign in").click()
                page.get_by_role("heading", name="Overview").wait_for()
            show(page)
            page.wait_for_timeout(1_000)  # until charts have come to rest
            page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
            context.close()

        both = f"/compare?job={ids['demand']}&job={ids['second']}"
        running = service.post(
            "/jobs",
            task="text-generation",
            dataset=ids["verses.txt"],
            model="verses",
            preset="base",
        )["id"]
        look("overview", watch)
        look("job-running", lambda page: page.goto(f"/jobs/{running}"))
        service.post(f"/jobs/{running}/cancel")
        look("sign-in", lambda page: page.get_by_label("API key").focus())
        look("datasets", lambda page: page.goto("/datasets"))
        look("dataset", lambda page: page.goto(f"/datasets/{ids['demand.csv']}"))
        look("new-job", lambda page: page.goto(f"/jobs/new?dataset={ids['reviews.csv']}"))
        look("jobs", lambda page: page.goto("/jobs"))
        look("job", lambda page: page.goto(f"/jobs/{ids['demand']}"))
        look("job-dark", lambda page: page.goto(f"/jobs/{ids['demand']}"), color_scheme="dark")
        look("compare", lambda page: page.goto(both))
        look("sweeps", lambda page: page.goto("/sweeps"))
        look("sweep", lambda page: page.goto(f"/sweeps/{ids['sweep']}"))
        look("models", lambda page: page.goto("/models"))
        look("model", lambda page: page.goto("/models/demand"))
        look("try-forecast", lambda page: ask(page, "starter-forecaster", "Forecast"))
        look("try-sentiment", lambda page: ask(page, "starter-sentiment", "Label it"))
        look("try-text", lambda page: ask(page, "starter-english", "Write on"))
        look("keys", lambda page: page.goto("/keys"))
        look("usage", lambda page: page.goto("/usage"))
        look("settings", find_settings)
        browser.close()


if __name__ == "__main__":
    main()
