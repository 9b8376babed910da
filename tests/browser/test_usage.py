"""What each key used, by day: as numbers, and drawn."""

from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MakePage, audit, fits
from tests.browser.test_jobs import LOOKS

pytestmark = pytest.mark.browser

BARS = """async () => {
  const echarts = await import("/static/vendor/echarts.mjs");
  const option = echarts.getInstanceByDom(document.getElementById("days")).getOption();
  return [option.xAxis[0].data.length, option.series.map((each) => each.data.at(-1))];
}"""


def drawn(page: Page) -> list[Any]:
    """How many days there are, and each key's bar on the last one."""
    expect(page.locator("#days canvas")).to_have_count(1)
    found: list[Any] = page.evaluate(BARS)
    return found


def test_what_was_used_is_shown_by_key_and_day(page: Page, api: httpx.Client) -> None:
    api.get("/jobs").raise_for_status()
    page.get_by_role("link", name="Usage").click()
    page.get_by_role("heading", name="Usage").wait_for()
    row = page.locator("#usage-table tbody tr").first
    expect(row.locator("th")).not_to_be_empty()
    assert int(row.locator("td").nth(1).get_attribute("data-value") or 0) > 1
    days, last = drawn(page)
    assert days == 30
    assert max(last) > 1
    page.locator("#measure").select_option("session_steps")
    used = api.get("/usage").raise_for_status().json()["data"]
    newest = max(each["day"] for each in used)
    steps = [each["session_steps"] for each in used if each["day"] == newest]
    assert sorted(drawn(page)[1]) == sorted(steps)
    page.locator('[name="since"]').fill("2020-01-01")
    page.locator('[name="until"]').fill("2020-01-02")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("Nothing was used on these days.")).to_be_visible()
    assert drawn(page)[0] == 2


@pytest.mark.parametrize("look", LOOKS)
def test_the_page_in_both_schemes_and_widths(make_page: MakePage, look: dict[str, object]) -> None:
    page = make_page(**look)
    page.goto("/usage")
    page.get_by_role("heading", name="Usage").wait_for()
    audit(page)
    fits(page)
