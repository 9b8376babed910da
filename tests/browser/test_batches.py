"""The prediction of a whole data set, found from the data set, watched to its answers."""

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import audit, fits
from tests.e2e.running import ROOT

pytestmark = pytest.mark.browser

SLOW = 120_000


def test_a_prediction_leads_from_its_data_set_to_its_answers(page: Page, api: httpx.Client) -> None:
    content = Path(ROOT, "docs", "examples", "reviews.csv").read_bytes()
    dataset = api.post("/datasets", files={"file": ("asked.csv", content)}).json()["id"]
    body = {"model": "starter-sentiment", "dataset": dataset, "name": "answered"}
    api.post("/batches", json=body).raise_for_status()
    page.goto(f"/datasets/{dataset}")
    page.locator("#used + ul").get_by_role("link", name="starter-sentiment").click()
    expect(page.locator("#job .state")).to_have_text("succeeded", timeout=SLOW)
    expect(page.locator("#loss")).to_be_hidden()
    expect(page.locator("#event-list")).to_contain_text("running → succeeded")
    audit(page)
    page.get_by_role("link", name="a data set").click()
    page.get_by_role("heading", name="answered").wait_for()
    page.goto("/jobs")
    page.get_by_label("Kind").select_option("prediction")
    expect(page.locator("#list").get_by_role("link", name="starter-sentiment")).to_be_visible()
    expect(page.get_by_role("button", name="Compare ticked jobs")).to_have_count(0)
    audit(page)
    fits(page)
