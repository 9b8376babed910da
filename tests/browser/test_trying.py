"""Forecasts, labels, texts that are written while one watches, and live sessions."""

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MakePage, audit, fits
from tests.browser.test_jobs import LOOKS, SCRIPT
from tests.e2e.running import ROOT, Running

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("look", LOOKS)
def test_each_form_in_both_schemes_and_widths(make_page: MakePage, look: dict[str, object]) -> None:
    page = make_page(**look)
    for model, ready in (
        ("starter-forecaster", "168 timesteps"),
        ("starter-sentiment", "of the words"),
        ("starter-english", ""),
    ):
        page.goto(f"/try?model={model}")
        expect(page.locator("#read")).to_contain_text(ready)
        page.get_by_role("button", name="Begin").click()
        expect(page.locator("#seq")).to_have_text("1")
        audit(page)
        fits(page)


def test_a_forecast_of_a_data_set_with_a_horizon_that_is_dragged(
    page: Page, stack: Running
) -> None:
    content = Path(ROOT, "docs", "examples", "demand.csv").read_bytes()
    httpx.post(
        f"{stack.url}/api/v1/datasets",
        files={"file": ("tried.csv", content)},
        headers={"Authorization": f"Bearer {stack.key}"},
    ).raise_for_status()
    page.goto("/try?model=starter-forecaster")
    page.get_by_label("Or a data set").select_option(label="tried.csv")
    expect(page.locator("#read")).to_contain_text("504 timesteps")
    page.get_by_label("Series in it").select_option("south")
    expect(page.locator("#numbers tr")).to_have_count(1 + 48)
    page.get_by_label("Horizon").fill("12")
    expect(page.locator("#numbers tr")).to_have_count(1 + 12)
    expect(page.locator("#fan canvas")).to_have_count(1)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("[1, 2, null, 4]", 4),
        ("when;y\n2026-01;1,5\n2026-02;2", None),
        ('when;y\n"a;b";1\n"c ""d""";\ne;3', 3),
        ("id\ty\na\t1\na\t2\nb\t3", 2),
        ('{"id": "a", "target": [1, 2, 3]}\n{"id": "b", "target": [4]}', 3),
    ],
)
def test_what_is_pasted_is_read(page: Page, text: str, length: int | None) -> None:
    page.goto("/try?model=starter-forecaster")
    expect(page.locator("#read")).to_contain_text("168 timesteps")
    page.get_by_label("Series, oldest first").fill(text)
    page.get_by_role("button", name="Forecast").click()
    if length is None:
        expect(page.locator("#try .fault")).to_contain_text("not a number")
    else:
        expect(page.locator("#read")).to_contain_text(f"{length} timesteps")


def test_a_text_has_labels_with_scores(page: Page) -> None:
    page.goto("/try?model=starter-sentiment")
    page.get_by_label("Text").fill("A dull, lifeless and boring film. Awful.")
    page.get_by_role("button", name="Label it").click()
    expect(page.locator("#scores li").first).to_contain_text("negative")
    expect(page.locator("#scores li")).to_have_count(2)


# A model may have written all of it before a click from outside arrives.
STOP_AT_ONCE = """() => new MutationObserver((_, watch) => {
  if (document.querySelector("#tokens [data-index='3']") === null) return;
  watch.disconnect();
  document.getElementById("stop").click();
}).observe(document.getElementById("tokens"), { childList: true })"""


def test_a_text_streams_with_probabilities_and_stops(page: Page) -> None:
    """bad_inputs completions-32: what is written is text."""
    page.on("dialog", lambda _: pytest.fail("a script of the prompt ran"))
    page.goto("/try?model=starter-english")
    page.get_by_label("Prompt").fill(SCRIPT)
    page.get_by_label("Tokens", exact=True).fill("40")
    page.get_by_role("button", name="Write on").click()
    expect(page.locator("#read")).to_contain_text("40 tokens")
    expect(page.locator("#tokens")).to_contain_text(SCRIPT)
    page.locator("#tokens [data-index='5']").hover()
    expect(page.locator("#token")).to_contain_text("%")
    page.locator("#tokens").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#tokens [data-index='4']")).to_have_class("pointed")

    page.get_by_label("Tokens", exact=True).fill("2000")
    page.evaluate(STOP_AT_ONCE)
    page.get_by_role("button", name="Write on").click()
    expect(page.locator("#read")).to_contain_text("stopped")


def test_a_session_steps_through_a_series(page: Page, stack: Running) -> None:
    page.goto("/try?model=starter-forecaster")
    page.get_by_label("Series, oldest first").fill("1 2 3 4 5 6 7 8 9 10")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#position")).to_have_text("5")
    page.get_by_role("button", name="Step").click()
    expect(page.locator("#position")).to_have_text("6")
    page.get_by_role("button", name="Play").click()
    expect(page.locator("#position")).to_have_text("10")
    expect(page.locator("#seq")).to_have_text("6")
    expect(page.get_by_role("button", name="Play")).to_be_enabled()
    page.get_by_role("button", name="End").click()
    expect(page.get_by_role("button", name="Step")).to_be_disabled()


def test_a_session_steps_through_words_and_then_writes(page: Page) -> None:
    page.goto("/try?model=starter-english")
    page.get_by_label("Prompt").fill("To be")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#position")).to_have_text("2")
    for step in (2, 3):
        page.get_by_role("button", name="Step").click()
        expect(page.locator("#seq")).to_have_text(str(step))
    expect(page.locator("#so-far")).to_contain_text("To be")
    expect(page.locator("#position")).to_have_text("6")  # a byte was drawn
    expect(page.locator("#next li")).to_have_count(8)
