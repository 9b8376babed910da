"""What a person does here in an afternoon, from the first page to the last."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MakePage
from tests.e2e.running import ROOT, Running

pytestmark = pytest.mark.browser

SLOW = 120_000
DEMAND = Path(ROOT, "docs", "examples", "demand.csv")


def test_a_person_trains_compares_promotes_and_asks(make_page: MakePage, stack: Running) -> None:
    page = make_page(signed_in=False)
    page.goto("/")
    assert stack.key is not None
    page.get_by_label("API key").fill(stack.key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Overview").wait_for()

    page.get_by_role("link", name="Data sets").click()
    page.get_by_label("Drop files here").set_input_files(DEMAND)
    page.get_by_role("heading", name="demand.csv").wait_for()

    first = train(page)
    expect(page.locator("#latest")).to_contain_text("Step", timeout=SLOW)
    before = page.locator("#latest").inner_text()
    expect(page.locator("#latest")).not_to_have_text(before, timeout=SLOW)

    page.get_by_role("link", name="Clone").click()
    page.get_by_role("button", name="Train").click()
    expect(page.locator("#job .state")).to_have_text(re.compile("queued|running"))
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#job .state")).to_have_text("cancelled", timeout=SLOW)

    page.goto(first)
    expect(page.locator("#job .state")).to_have_text("succeeded", timeout=SLOW)
    second = clone(page)
    expect(page.locator("#job .state")).to_have_text("succeeded", timeout=SLOW)

    page.get_by_role("link", name="version 2").click()
    page.get_by_role("button", name="Promote version 1").click()
    expect(page.locator("#version-1")).to_contain_text("serves now")
    expect(page.locator("#aliases + ul")).to_contain_text("is version 1")

    page.goto("/jobs")
    for address in (first, second):
        page.locator(f"#job-{address.rpartition('/')[2]}").get_by_role("checkbox").check()
    page.get_by_role("button", name="Compare ticked jobs").click()
    page.get_by_role("heading", name="Compare jobs").wait_for()
    expect(page.locator("#results tbody tr")).to_have_count(2)

    page.get_by_role("link", name="Try it").click()
    page.get_by_label("Model").select_option("journey")
    page.get_by_label("Or a data set").select_option(label="demand.csv")
    page.get_by_role("button", name="Forecast").click()
    expect(page.locator("#read")).to_contain_text("timesteps")
    expect(page.locator("#fan canvas")).to_have_count(1)

    page.get_by_label("Model").select_option("starter-sentiment")
    page.get_by_label("Text").fill("A dull, lifeless and boring film.")
    page.get_by_role("button", name="Label it").click()
    expect(page.locator("#scores li").first).to_contain_text("negative")
    for token in ("dull", "boring"):
        coloured = page.locator("#tokens [data-adds]").filter(has_text=token)
        assert int(coloured.get_attribute("data-adds") or 0) > 0

    page.get_by_label("Model").select_option("starter-english")
    page.get_by_label("Tokens", exact=True).fill("50")
    page.get_by_role("button", name="Write on").click()
    expect(page.locator("#read")).to_contain_text("50 tokens")

    page.get_by_text("Signed in").click()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.get_by_label("API key").wait_for()


def train(page: Page) -> str:
    """From the page of the data set; returns the address of the job."""
    page.get_by_role("link", name="Train on it").click()
    choose(page, "Job", "model", "journey")
    choose(page, "Training", "training.max_epochs", "3")
    choose(page, "Training", "training.windows_per_epoch", "1024")
    return submit(page)


def clone(page: Page) -> str:
    """The same again with another seed."""
    page.get_by_role("link", name="Clone").click()
    choose(page, "Training", "training.seed", "2")
    return submit(page)


def choose(page: Page, section: str, path: str, value: str) -> None:
    expect(page.get_by_role("button", name="Train")).to_be_enabled()
    part = page.locator("#adjust .section").filter(has=page.get_by_text(section, exact=True))
    for closed in (page.locator("#adjust"), part):
        if closed.get_attribute("open") is None:
            closed.locator("> summary").click()
    page.locator(f'[data-path="{path}"]').fill(value)


def submit(page: Page) -> str:
    page.get_by_role("button", name="Train").click()
    page.get_by_role("heading", name="journey").wait_for()
    return page.url
