"""A sweep is started by its form, watched, looked into, and cancelled."""

import time

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MakePage, audit, fits
from tests.browser.test_jobs import LOOKS, SCRIPT

pytestmark = pytest.mark.browser

SLOW = 240_000
SERIES = "value\n" + "\n".join(str(10 + (i % 4) + i / 50) for i in range(120)) + "\n"
CHOICE = '#space [data-part="path"]'


@pytest.fixture(scope="module")
def dataset(api: httpx.Client) -> str:
    answer = api.post("/datasets", files={"file": (f"{SCRIPT}.csv", SERIES.encode())})
    return str(answer.raise_for_status().json()["id"])


@pytest.fixture(scope="module")
def sweep(api: httpx.Client, dataset: str) -> str:
    """Of three trials, one at a time."""
    job = {
        "task": "time-series-forecasting",
        "dataset": dataset,
        "model": "swept",
        "architecture": {"hidden_size": 8},
        "training": {"max_epochs": 1},
    }
    space = {
        "training.learning_rate": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
        "architecture.cell": {"type": "categorical", "choices": ["lstm", "gru"]},
    }
    body = {"job": job, "space": space, "max_trials": 3, "parallel": 1, "pruner": "none"}
    return str(api.post("/sweeps", json=body).raise_for_status().json()["id"])


@pytest.fixture(scope="module")
def ended(api: httpx.Client, sweep: str) -> str:
    """The same, once it has ended."""
    deadline = time.monotonic() + SLOW / 1000
    while api.get(f"/sweeps/{sweep}").json()["state"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return sweep


def test_a_sweep_is_watched_to_its_end(page: Page, sweep: str) -> None:
    page.on("dialog", lambda _: pytest.fail("a script of a name ran"))
    page.goto("/sweeps")
    page.locator(f"#sweep-{sweep}").get_by_role("link", name="swept").click()
    state = page.locator("#sweep > .headline .state")
    expect(state).to_have_text("succeeded", timeout=SLOW)
    expect(page.locator("#trials-table tbody tr")).to_have_count(3)
    expect(page.get_by_role("link", name="version 1")).to_be_visible()
    expect(page.locator("#sweep")).to_contain_text(f"{SCRIPT}.csv")  # bad_inputs dashboard-01


def test_a_range_of_an_axis_marks_its_trials(page: Page, ended: str) -> None:
    page.goto(f"/sweeps/{ended}")
    canvas = page.locator("#parallel canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    left = box["x"] + 60  # of the first axis
    page.mouse.move(left, box["y"] + 45)
    page.mouse.down()
    page.mouse.move(left, box["y"] + box["height"] - 35, steps=10)
    page.mouse.up()
    expect(page.locator("#brushed")).to_have_text("3 of 3 trials lie in what was chosen.")
    expect(page.locator("tr.brushed")).to_have_count(3)
    page.get_by_role("button", name="Choose no range").click()
    expect(page.locator("tr.brushed")).to_have_count(0)
    expect(page.locator("#brushed")).to_be_empty()


def test_trials_are_sorted_and_compared(page: Page, ended: str) -> None:
    page.goto(f"/sweeps/{ended}")
    head = page.locator("#trials-table th", has_text="loss")
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    expect(page.locator("#trials-table tbody tr").first).to_contain_text("best")
    for number in (0, 1):
        page.get_by_role("checkbox", name=f"Compare trial {number}").check()
    page.get_by_role("button", name="Compare ticked trials").click()
    expect(page.locator("#results-table tbody tr")).to_have_count(2)


def test_one_is_started_by_the_form_and_cancelled(
    page: Page, api: httpx.Client, dataset: str
) -> None:
    page.goto(f"/jobs/new?dataset={dataset}")
    expect(page.get_by_role("button", name="Start the sweep")).to_be_disabled()
    page.get_by_role("button", name="Add a choice").click()
    page.locator(CHOICE).select_option("architecture.cell")
    rows = page.locator("#space fieldset")
    rows.first.get_by_label("One of").fill("lstm, gru")
    page.get_by_role("button", name="Add a choice").click()
    page.locator(CHOICE).nth(1).select_option("training.learning_rate")
    page.get_by_role("button", name="Start the sweep").click()
    expect(page.locator("#sweep-fault")).to_contain_text("training.learning_rate")
    rows.nth(1).get_by_role("spinbutton", name="From").fill("0.001")
    rows.nth(1).get_by_role("spinbutton", name="To").fill("0.1")
    rows.nth(1).get_by_label("Logarithmic").check()
    page.locator("#trials").fill("4")
    page.get_by_role("button", name="Start the sweep").click()
    page.get_by_role("heading", name="Sweep of").wait_for()
    made = api.get(f"/sweeps/{page.url.rpartition('/')[2]}").json()
    assert made["max_trials"] == 4
    assert made["space"] == {
        "architecture.cell": {"type": "categorical", "choices": ["lstm", "gru"]},
        "training.learning_rate": {
            "type": "float",
            "low": 0.001,
            "high": 0.1,
            "log": True,
            "step": None,
        },
    }
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel it").click()
    expect(page.locator("#sweep > .headline .state")).to_have_text("cancelled")


def test_what_the_service_refuses_is_said(make_page: MakePage, dataset: str) -> None:
    page = make_page(watched=False)  # Chromium calls the 422 an error
    page.goto(f"/jobs/new?dataset={dataset}")
    page.get_by_role("button", name="Add a choice").click()
    page.locator(CHOICE).select_option("architecture.hidden_size")
    page.get_by_role("spinbutton", name="From").fill("0")
    page.get_by_role("spinbutton", name="To").fill("16")
    page.get_by_role("button", name="Start the sweep").click()
    expect(page.locator("#sweep-fault")).to_contain_text("architecture.hidden_size.low")
    expect(page.get_by_role("button", name="Start the sweep")).to_be_enabled()


@pytest.mark.parametrize("look", LOOKS)
def test_the_pages_in_both_schemes_and_widths(
    make_page: MakePage, ended: str, look: dict[str, object]
) -> None:
    page = make_page(**look)
    for path, ready in (("/sweeps", "Sweeps"), (f"/sweeps/{ended}", "Sweep of swept")):
        page.goto(path)
        page.get_by_role("heading", name=ready).wait_for()
        audit(page)
        fits(page)
    page.goto("/jobs/new#variants")
    page.get_by_role("button", name="Add a choice").click()
    audit(page)
    fits(page)
