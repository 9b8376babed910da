"""Promoting a model, rolling back, deleting it, and its files."""

import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MakePage, audit, fits
from tests.browser.test_jobs import LOOKS, SCRIPT
from tests.e2e.running import ROOT

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def verses(api: httpx.Client) -> str:
    """A model with two versions, the second one in production."""
    path = Path(ROOT, "docs", "examples", "verses.txt")
    upload = api.post("/datasets", files={"file": path.read_bytes()}).raise_for_status()
    body = {
        "task": "text-generation",
        "dataset": upload.json()["id"],
        "model": "verses",
        "preset": "small",
        "training": {"max_steps": 3},
    }
    for _ in range(2):
        job = api.post("/jobs", json=body).raise_for_status().json()["id"]
        _await_success(api, job)
    return "verses"


def _await_success(api: httpx.Client, job: str) -> None:
    deadline = time.monotonic() + 120
    while (state := api.get(f"/jobs/{job}").raise_for_status().json()["state"]) != "succeeded":
        assert state in ("queued", "running")
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize("look", LOOKS)
def test_each_page_in_both_schemes_and_widths(
    make_page: MakePage, verses: str, look: dict[str, object]
) -> None:
    page = make_page(**look)
    for path, ready in (
        ("/models", "Models"),
        (f"/models/{verses}", verses),
        ("/models/starter-english", "starter-english"),
    ):
        page.goto(path)
        page.get_by_role("heading", name=ready, exact=True, level=1).wait_for()
        audit(page)
        fits(page)
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    audit(page)


CARD = f"""# {SCRIPT}

<img src=x onerror=alert(1)> </title><svg onload=alert(1)>

![a picture](https://evil.example/pixel.png) [a script](javascript:alert(1))
[a page](data:text/html,{SCRIPT}) [over](https://example.org "\\" onmouseover=\\"alert(1)")

| figure | value |
|:-------|------:|
| loss   | **0.5** |

```html" onload="alert(1)
{SCRIPT}
```
"""


def test_a_card_is_written_and_does_nothing(page: Page, verses: str) -> None:
    """bad_inputs dashboard-01, dashboard-02."""
    page.on("dialog", lambda _: pytest.fail("a script of the card ran"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).hostname or ""))
    page.goto(f"/models/{verses}?version=1")
    page.get_by_text("Write the card of version 1").click()
    page.get_by_label("Markdown:").fill(CARD)
    page.get_by_role("button", name="Save the card").click()
    card = page.get_by_role("region", name="Model card")
    expect(card.get_by_role("heading", name=SCRIPT, exact=True)).to_be_visible()
    expect(card.get_by_role("cell", name="0.5").locator("strong")).to_be_visible()
    expect(card).to_contain_text("<img src=x onerror=alert(1)>")
    expect(card).to_contain_text("[picture: a picture, https://evil.example/pixel.png]")
    assert card.locator("script, img, svg, iframe, [style], [onload], [onmouseover]").count() == 0
    links = card.get_by_role("link")
    assert links.evaluate_all("links => links.map((link) => link.href)") == ["https://example.org/"]
    links.hover()
    page.reload()
    expect(card).to_contain_text(SCRIPT)
    audit(page)
    fits(page)
    assert set(asked) == {"127.0.0.1"}


def test_a_card_is_taken_away(page: Page, verses: str, api: httpx.Client) -> None:
    path = f"/models/{verses}/versions/2"
    api.put(f"{path}/card", json={"card": "# Here"}).raise_for_status()
    page.goto(f"/models/{verses}?version=2")
    page.get_by_text("Write the card of version 2").click()
    expect(page.get_by_label("Markdown:")).to_have_value("# Here")
    page.get_by_label("Markdown:").fill(" ")
    page.get_by_role("button", name="Save the card").click()
    expect(page.get_by_role("region", name="Model card")).to_have_count(0)
    assert api.get(path).json()["card"] is None


def test_promote_and_roll_back(page: Page, verses: str) -> None:
    page.goto(f"/models/{verses}")
    production = page.locator("#aliases + ul")
    expect(production).to_contain_text("production is version 2")
    page.get_by_role("button", name="Promote version 1").click()
    expect(production).to_contain_text("production is version 1")
    page.get_by_role("button", name="Roll back production").click()
    expect(production).to_contain_text("production is version 2")
    newest = page.get_by_role("region", name="History of the aliases").locator("tbody tr").first
    expect(newest).to_contain_text("rolled back")


def test_an_alias_comes_and_goes(page: Page, verses: str) -> None:
    page.goto(f"/models/{verses}?version=1")
    page.get_by_label("Let the alias").fill("canary")
    page.get_by_role("button", name="point at version 1").click()
    remove = page.get_by_role("button", name="Remove canary")
    remove.click()
    expect(remove).to_have_count(0)


def test_a_file_is_downloaded(page: Page, verses: str, api: httpx.Client) -> None:
    """bad_inputs dashboard-24."""
    page.goto(f"/models/{verses}?version=1")
    with page.expect_download() as found:
        page.get_by_role("link", name="manifest.json").click()
    there = api.get(f"/models/{verses}/versions/1/files/manifest.json")
    assert "attachment" in there.headers["content-disposition"]
    assert found.value.path().read_bytes() == there.content


def test_deleting_is_asked_about_first(page: Page, verses: str, api: httpx.Client) -> None:
    """The last test of this module: its model is gone then."""
    page.goto(f"/models/{verses}")
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert api.get(f"/models/{verses}").status_code == 200
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("heading", name="Models").wait_for()
    assert api.get(f"/models/{verses}").status_code == 404
