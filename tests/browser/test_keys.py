"""Making a key, copying it, and revoking it."""

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MakePage, audit, fits
from tests.browser.test_jobs import LOOKS
from tests.e2e.running import Running

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("look", LOOKS)
def test_the_page_in_both_schemes_and_widths(make_page: MakePage, look: dict[str, object]) -> None:
    page = make_page(**look)
    page.goto("/keys")
    page.get_by_label("Name", exact=True).fill("looked at")
    page.get_by_label("predict").check()
    page.get_by_role("button", name="Make it").click()
    page.get_by_role("heading", name="The new key").wait_for()
    audit(page)
    fits(page)


def test_a_key_is_made_shown_once_and_revoked(page: Page, stack: Running) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/keys")
    page.get_by_label("Name", exact=True).fill("for tests")
    page.get_by_role("button", name="Make it").click()
    expect(page.locator("#create .fault")).to_contain_text("at least one")
    page.get_by_label("models:read").check()
    page.get_by_label("Ends").fill("2099-01-31T12:00")
    page.get_by_role("button", name="Make it").click()
    row = page.get_by_role("row", name="for tests").first
    expect(row).to_contain_text("2099")
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#copied")).to_have_text("Copied.")
    key = page.evaluate("navigator.clipboard.readText()")
    models = f"{stack.url}/api/v1/models"
    assert httpx.get(models, headers={"Authorization": f"Bearer {key}"}).status_code == 200

    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.locator("#key")).to_be_hidden()  # another page, which does not know it
    expect(row).to_contain_text("revoked")
    assert httpx.get(models, headers={"Authorization": f"Bearer {key}"}).status_code == 401
