"""The settings in a browser, and the overview's workers as they go on."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MakePage, audit, fits
from tests.browser.test_jobs import LOOKS

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("look", LOOKS)
def test_the_page_in_both_schemes_and_widths(make_page: MakePage, look: dict[str, object]) -> None:
    page = make_page(**look)
    page.goto("/settings")
    page.get_by_role("heading", name="Live sessions").wait_for()
    expect(page.get_by_text(":***@").first).to_be_visible()
    expect(page.get_by_text("changed", exact=True).first).to_be_visible()
    audit(page)
    fits(page)


def test_settings_are_found_by_words_and_by_whether_they_changed(page: Page) -> None:
    page.get_by_role("link", name="Settings").click()
    shown = page.locator(".setting:visible")
    expect(page.locator("#found")).to_have_text(f"{shown.count()} settings")
    page.get_by_label("Find").fill("UPLOAD bytes")
    expect(shown).to_have_count(1)
    expect(shown).to_contain_text("REPRISE_MAX_UPLOAD_BYTES")
    expect(page.locator("#found")).to_contain_text("1 of ")
    expect(page.get_by_role("heading", name="Live sessions")).to_be_hidden()
    page.get_by_label("Find").press("Enter")  # it is no form that is sent
    expect(shown).to_have_count(1)
    page.get_by_label("Find").fill("")
    page.get_by_label("Only changed").check()
    expect(page.get_by_text("REPRISE_PORT", exact=True)).to_be_visible()
    expect(page.get_by_text("REPRISE_MAX_UPLOAD_BYTES")).to_be_hidden()
    expect(page.locator(".setting:visible .state")).to_have_count(shown.count())
    page.get_by_role("link", name="The menu at the top").click()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Sign out everywhere")).to_be_visible()


def test_the_overview_asks_again_how_busy_workers_are(page: Page) -> None:
    processor = page.get_by_role("meter", name="Processor")
    expect(processor).to_be_visible(timeout=20_000)  # from the second heartbeat on, without news
    expect(page.locator(".uses").first).to_contain_text("GB of")
    before = processor.get_attribute("value") or ""
    expect(processor).not_to_have_attribute("value", before, timeout=40_000)  # there is no news
    audit(page)
    fits(page)
