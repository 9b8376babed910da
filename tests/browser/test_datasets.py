"""Data sets are dropped, checked, looked at and deleted."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MakePage, audit, fits
from tests.e2e.running import ROOT

pytestmark = pytest.mark.browser

EXAMPLES = Path(ROOT, "docs", "examples")
WRONG = b"date,value\n2024-01-01,1\n2024-01-02,oops\n2024-01-03,3\n"
LOOKS = [("light", 1280), ("light", 390), ("dark", 1280), ("dark", 390)]


def choose(page: Page, *files: Path) -> None:
    page.goto("/datasets")
    page.get_by_label("Drop files here").set_input_files(files)


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_both_pages_in_both_schemes_and_widths(
    make_page: MakePage, scheme: str, width: int
) -> None:
    page = make_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    for name, canvas in (("demand.csv", "#lines"), ("reviews.csv", "#text-lengths")):
        choose(page, EXAMPLES / name)
        page.get_by_role("heading", name=name).wait_for()
        expect(page.locator(f"{canvas} canvas")).to_have_count(1, timeout=30_000)
        audit(page)
        fits(page)
    page.goto("/datasets")
    expect(page.locator("time").first).not_to_contain_text("T0")
    audit(page)
    fits(page)


def test_series_of_several_lengths_are_counted_in_bars(page: Page) -> None:
    rows = [f"{'a' if step < 9 else 'b'},{step},{step}\n" for step in range(13)]
    content = "".join(["series,time,value\n", *rows]).encode()
    page.goto("/datasets")
    page.get_by_label("Drop files here").set_input_files(
        {"name": "uneven.csv", "mimeType": "text/csv", "buffer": content}
    )
    page.get_by_role("heading", name="uneven.csv").wait_for()
    expect(page.locator("#series-lengths canvas")).to_have_count(1, timeout=30_000)
    audit(page)
    fits(page)


def test_several_files_are_sent_one_after_the_other(page: Page) -> None:
    choose(page, EXAMPLES / "verses.txt", EXAMPLES / "reviews.csv")
    expect(page.locator("#uploads a")).to_have_count(2)
    expect(page.locator("#list tbody a").first).to_have_text("reviews.csv")


def test_a_fault_is_shown_at_its_row_and_column(make_page: MakePage) -> None:
    page = make_page(watched=False)  # Chromium calls the 422 an error
    page.goto("/datasets")
    page.get_by_label("Drop files here").set_input_files(
        {"name": "<b>wrong</b>.csv", "mimeType": "text/csv", "buffer": WRONG}
    )
    row = page.locator("#uploads tbody tr")
    expect(row.locator("td").nth(0)).to_have_text("2")
    expect(row.locator("td").nth(1)).to_have_text("value")
    expect(row.locator("td").nth(2)).to_contain_text('"oops" is not a finite number')
    expect(page.locator("#uploads strong")).to_have_text("<b>wrong</b>.csv")


def test_a_file_is_dropped(page: Page) -> None:
    page.goto("/datasets")
    data = page.evaluate_handle(
        """(text) => {
          const data = new DataTransfer();
          data.items.add(new File([text], "dropped.txt", { type: "text/plain" }));
          return data;
        }""",
        "a line to learn from\n" * 50,
    )
    page.dispatch_event("#upload", "drop", {"dataTransfer": data})
    page.get_by_role("heading", name="dropped.txt").wait_for()


def test_it_is_deleted_only_after_a_question(page: Page) -> None:
    choose(page, EXAMPLES / "verses.txt")
    page.get_by_role("heading", name="verses.txt").wait_for()
    address = page.url
    page.get_by_role("button", name="Delete", exact=True).click()
    audit(page)
    page.get_by_role("button", name="Keep it").click()
    expect(page.locator("dialog")).to_be_hidden()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.locator("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("heading", name="Data sets").wait_for()
    identity = address.rpartition("/")[2]
    expect(page.locator(f"#dataset-{identity}")).to_have_count(0)
