"""Jobs side by side: ticked in the list, drawn, sorted, and what differs between them."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MakePage, audit, fits
from tests.browser.test_jobs import LOOKS, SCRIPT, submit
from tests.e2e.running import ROOT

pytestmark = pytest.mark.browser

SLOW = 120_000
LINES = """async (id) => {
  const echarts = await import("/static/vendor/echarts.mjs");
  const option = echarts.getInstanceByDom(document.getElementById(id)).getOption();
  return option.series.map((each) => [each.name, each.data.length, each.data.at(-1)?.[0]]);
}"""


@pytest.fixture(scope="module")
def dataset(api: httpx.Client) -> str:
    content = Path(ROOT, "docs", "examples", "verses.txt").read_bytes()
    answer = api.post("/datasets", files={"file": (f"{SCRIPT}.txt", content)})
    return str(answer.raise_for_status().json()["id"])


@pytest.fixture(scope="module")
def two(api: httpx.Client, dataset: str) -> list[str]:
    """One after the other, so that the second still runs when the page is opened."""
    return [
        submit(
            api,
            dataset,
            model=f"side-{seed}",
            training={"seed": seed, "max_epochs": 3},
            metadata={"note": f"{SCRIPT}{seed}"},
        )
        for seed in (1, 2)
    ]


def opened(page: Page, jobs: list[str]) -> None:
    page.goto("/compare?" + "&".join(f"job={job}" for job in jobs))
    page.get_by_role("heading", name="Compare jobs").wait_for()


def drawn(page: Page, chart: str) -> list[Any]:
    found: list[Any] = page.evaluate(LINES, chart)
    return found


def test_ticked_jobs_are_compared_as_they_train(page: Page, two: list[str]) -> None:
    page.on("dialog", lambda _: pytest.fail("a script of a name ran"))
    page.goto("/jobs")
    for name in ("side-1", "side-2"):
        page.get_by_role("checkbox", name=name).check()
    page.evaluate("document.body.dispatchEvent(new CustomEvent('jobs'))")
    page.wait_for_timeout(500)
    expect(page.get_by_role("checkbox", name="side-1")).to_be_checked()  # also after news
    page.get_by_role("button", name="Compare ticked jobs").click()
    page.get_by_role("heading", name="Compare jobs").wait_for()
    for job in two:
        expect(page.locator(f"#result-{job} .state")).to_have_text("succeeded", timeout=SLOW)
    expect(page.locator("#reading")).to_have_text("")
    names = ["A side-2", "B side-1"]  # as they stand in the list
    page.wait_for_function(
        "async () => (await (" + LINES + ")('held-out')).every((each) => each[1] === 3)"
    )
    assert [each[0] for each in drawn(page, "held-out")] == names
    assert {each[0] for each in drawn(page, "loss")} == set(names)
    steps = [each[2] for each in drawn(page, "held-out")]
    page.get_by_label("Over").select_option("seconds")
    expect(page.locator("#held-out canvas")).to_have_count(1)
    page.wait_for_function(
        f"async () => (await ({LINES})('held-out')).every((each) => each[2] !== {steps[0]})"
    )


def test_a_chart_that_is_drawn_anew_keeps_its_range(page: Page, two: list[str]) -> None:
    opened(page, two)
    expect(page.locator("#figure option").first).to_be_attached(timeout=SLOW)
    page.evaluate(
        """async () => {
          const echarts = await import("/static/vendor/echarts.mjs");
          const chart = echarts.getInstanceByDom(document.getElementById("loss"));
          chart.dispatchAction({ type: "dataZoom", start: 20, end: 60 });
        }"""
    )
    page.get_by_label("Log scale").check()
    page.wait_for_function(
        """async () => {
          const echarts = await import("/static/vendor/echarts.mjs");
          const option = echarts.getInstanceByDom(document.getElementById("loss")).getOption();
          const [zoom] = option.dataZoom;
          return option.yAxis[0].type === "log" && zoom.start === 20 && zoom.end === 60;
        }"""
    )


def test_results_are_sorted_by_keyboard_too(page: Page, two: list[str]) -> None:
    opened(page, two)
    rows = page.locator("#results-table tbody tr")
    head = page.locator("#results-table th", has_text="Job")
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    expect(rows.first).to_contain_text("side-1")
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(rows.first).to_contain_text("side-2")


def test_differences_first_and_everything_when_asked_for(page: Page, two: list[str]) -> None:
    """bad_inputs dashboard-01."""
    opened(page, two)
    settings = page.locator("#settings tbody tr:visible")
    expect(settings.locator("th")).to_have_text(["model", "metadata.note", "training.seed"])
    expect(settings.locator("mark")).to_have_text(["≠ side-2", f"≠ {SCRIPT}2", "≠ 2"])
    page.get_by_label("All").check()
    expect(page.locator("#settings tbody tr:visible", has_text="hidden_size")).to_have_count(1)


def test_a_job_is_added_and_removed(page: Page, two: list[str]) -> None:
    page.goto(f"/jobs/{two[0]}")
    page.get_by_role("link", name="Compare").click()
    expect(page.get_by_text("Add a job to see what differs")).to_be_visible()
    page.locator('select[name="job"]').select_option(two[1])
    page.get_by_role("button", name="Add it").click()
    expect(page.locator("#results-table tbody tr")).to_have_count(2)
    page.get_by_role("link", name="Remove A").click()
    expect(page.locator("#results-table tbody tr")).to_have_count(1)
    expect(page.locator("#results-table")).to_contain_text("side-2")


@pytest.mark.parametrize("look", LOOKS)
def test_the_page_in_both_schemes_and_widths(
    make_page: MakePage, two: list[str], look: dict[str, object]
) -> None:
    page = make_page(**look)
    opened(page, two)
    audit(page)
    fits(page)
    page.get_by_label("All").check()
    audit(page)
    fits(page)
    page.goto("/compare")
    audit(page)
    fits(page)
