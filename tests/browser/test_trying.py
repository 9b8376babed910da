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
        ("starter-sentiment", "of the tokens"),
        ("starter-english", ""),
    ):
        page.goto(f"/try?model={model}")
        expect(page.locator("#read")).to_contain_text(ready)
        page.get_by_role("button", name="Begin").click()
        expect(page.locator("#seq")).to_have_text("1")
        expect(page.locator("#state-told")).to_contain_text("After step 1")
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


def test_each_token_is_coloured_by_what_it_adds(page: Page) -> None:
    """bad_inputs dashboard-01: what was written is text, whatever it holds."""
    page.on("dialog", lambda _: pytest.fail("a script of the text ran"))
    text = f"\U0001f600 A great film, cafe\u0301 {SCRIPT}\n  but awful, dull and boring."
    page.goto("/try?model=starter-sentiment")
    page.get_by_label("Text").fill(text)
    page.get_by_role("button", name="Label it").click()
    tokens = page.locator("#tokens")
    expect(tokens.get_by_text("awful", exact=True)).to_be_visible()
    assert tokens.evaluate("place => place.textContent") == text
    pressed = page.locator("#labels [aria-pressed='true']")
    expect(pressed).to_have_text("negative")
    great, awful = (tokens.get_by_text(word, exact=True) for word in ("great", "awful"))
    assert int(awful.get_attribute("data-adds") or 0) > 0
    assert int(great.get_attribute("data-adds") or 0) < 0
    awful.hover()
    expect(page.locator("#token")).to_contain_text("for negative")
    great.hover()
    expect(page.locator("#token")).to_contain_text("against negative")
    tokens.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#token")).to_contain_text("film:")

    page.get_by_role("button", name="positive").click()
    expect(pressed).to_have_text("positive")
    great.hover()
    expect(page.locator("#token")).to_contain_text("for positive")
    expect(page.locator("#sum")).to_contain_text("Log-odds of positive")
    page.get_by_text("In numbers").click()
    expect(page.get_by_role("cell", name="awful", exact=True)).to_be_visible()
    audit(page)
    fits(page)


def test_what_was_not_read_of_a_long_text_is_told(make_page: MakePage) -> None:
    page = make_page(watched=False)  # a refusal is an error in the console
    page.goto("/try?model=starter-sentiment")
    page.get_by_label("Text").fill("good film " * 1_000 + "the end")
    page.get_by_role("button", name="Label it").click()
    expect(page.locator("#sum")).to_contain_text("in italics was not read")
    assert page.locator("#tokens .unread").count() == 1
    page.route("**/api/v1/sentiment", lambda route: route.abort())
    page.get_by_role("button", name="positive").click()
    expect(page.locator("#why-fault")).to_contain_text("does not answer")
    expect(page.locator("#tokens")).to_have_text("")


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


def test_a_session_draws_its_hidden_state(page: Page) -> None:
    for model in ("starter-forecaster", "starter-sentiment", "starter-english"):
        page.goto(f"/try?model={model}")
        expect(page.locator("#inside")).to_be_hidden()
        page.get_by_role("button", name="Begin").click()
        expect(page.locator("#state-told")).to_contain_text("After step 1 the")
        page.get_by_role("button", name="Step").click()
        expect(page.locator("#state-told")).to_contain_text("After step 2 the")
        expect(page.locator("#state-told")).to_contain_text("moved most")
        expect(page.locator("#state canvas").first).to_be_visible()
        layers = page.get_by_label("Layer").locator("option")
        page.get_by_label("Layer").select_option(index=layers.count() - 1)
        expect(page.locator("#state-told")).to_contain_text(f"of layer {layers.count()} lie")


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
