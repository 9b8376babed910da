"""What a network answers to held-out examples, on the page of its job while it learns."""

import re
import time
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MakePage, audit, fits
from tests.browser.test_jobs import LOOKS, SCRIPT
from tests.e2e.running import ROOT

pytestmark = pytest.mark.browser

EXAMPLES = Path(ROOT, "docs", "examples")
TASKS = ("text-generation", "time-series-forecasting", "text-classification")
VIEWS = {
    "text-generation": "#sample-view blockquote",
    "time-series-forecasting": "#sample-view canvas",
    "text-classification": "#sample-view table",
}
DEADLINE_SECONDS = 240
LOAD_MILLISECONDS = 30_000  # of a page with all its charts


def content(task: str) -> tuple[str, bytes]:
    """A file whose texts and names are scripts, where a file of that kind has any."""
    if task == "text-generation":
        return "ugly.txt", f"{SCRIPT} said the fox to the dog\n".encode() * 400
    if task == "text-classification":
        header, *rows = (EXAMPLES / "reviews.csv").read_text().splitlines()
        return "ugly.csv", "\n".join([header, *(f"{SCRIPT} {row}" for row in rows)]).encode()
    return "ugly-series.csv", (EXAMPLES / "demand.csv").read_bytes().replace(
        b"north", b"<i>north</i>"
    )


def submit(api: httpx.Client, task: str) -> str:
    """A training that goes on until it is cancelled, of a network so small that its samples, which
    may take a hundredth of the time, come soon."""
    dataset = api.post("/datasets", files={"file": content(task)}).raise_for_status().json()["id"]
    body = {
        "task": task,
        "dataset": dataset,
        "model": f"shows-{task}",
        "preset": "small",
        "architecture": {"hidden_size": 16, "num_layers": 1},
        "training": {"max_epochs": 10_000, "early_stopping_patience": None},
    }
    return str(api.post("/jobs", json=body).raise_for_status().json()["id"])


@pytest.fixture(scope="module")
def jobs(api: httpx.Client) -> dict[str, str]:
    """A job of each task that was cancelled when it had shown two samples."""
    made = {}
    for task in TASKS:
        made[task] = job = submit(api, task)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while len(api.get(f"/jobs/{job}/samples").json()["data"]) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        api.post(f"/jobs/{job}/cancel").raise_for_status()
    return made


@pytest.mark.parametrize("look", LOOKS)
def test_samples_of_each_task_in_both_schemes_and_widths(
    make_page: MakePage, jobs: dict[str, str], look: dict[str, object]
) -> None:
    page = make_page(**look)
    page.on("dialog", lambda _: pytest.fail("a script of a data set ran"))
    for task, job in jobs.items():
        page.goto(f"/jobs/{job}")
        expect(page.locator("#sample-step")).to_contain_text("step", timeout=LOAD_MILLISECONDS)
        expect(page.locator(VIEWS[task]).first).to_be_visible()
        expect(page.get_by_label("Held out")).to_have_value(re.compile("^loss"))  # of all figures
        assert page.locator("#sample-view :is(script, i)").count() == 0
        audit(page)
        fits(page)


def test_what_is_shown_is_text(page: Page, jobs: dict[str, str]) -> None:
    """bad_inputs dashboard-01."""
    page.goto(f"/jobs/{jobs['text-generation']}")
    first = page.locator("#sample-view :is(blockquote, td)").first
    expect(first).to_contain_text(SCRIPT, timeout=LOAD_MILLISECONDS)
    page.goto(f"/jobs/{jobs['text-classification']}")
    expect(first).to_contain_text(SCRIPT, timeout=LOAD_MILLISECONDS)
    verdicts = page.locator("#sample-view .state")
    assert {"right", "wrong"} >= {text.split()[1] for text in verdicts.all_inner_texts()}
    page.goto(f"/jobs/{jobs['time-series-forecasting']}")
    error = page.locator("#sample-view .hint").first
    expect(error).to_contain_text("Mean absolute error", timeout=LOAD_MILLISECONDS)
    expect(page.locator("#sample-view h3", has_text="<i>north</i>")).to_be_visible()


def test_samples_come_by_themselves_and_the_slider_goes_back(page: Page, api: httpx.Client) -> None:
    blocker = submit(api, "time-series-forecasting")
    job = submit(api, "text-generation")
    page.goto(f"/jobs/{job}")
    expect(page.locator("#no-sample")).to_contain_text("None yet")
    api.post(f"/jobs/{blocker}/cancel").raise_for_status()
    step = page.locator("#sample-step")
    expect(step).to_contain_text("step", timeout=DEADLINE_SECONDS * 1000)
    before = step.inner_text()
    expect(page.locator("#no-sample")).to_be_hidden()
    expect(step).not_to_have_text(before, timeout=DEADLINE_SECONDS * 1000)  # the newest one
    newest_text = step.inner_text()
    slider = page.get_by_label("After", exact=True)
    slider.focus()
    page.keyboard.press("Home")
    expect(step).not_to_have_text(newest_text)
    first = step.inner_text()
    newest = slider.get_attribute("max")
    assert newest is not None
    expect(slider).not_to_have_attribute("max", newest, timeout=DEADLINE_SECONDS * 1000)
    expect(step).to_have_text(first)  # whoever looks back is left in peace
    page.keyboard.press("End")
    expect(step).not_to_have_text(first)
    assert slider.get_attribute("aria-valuetext") == step.inner_text().partition(",")[0]
    api.post(f"/jobs/{job}/cancel").raise_for_status()
