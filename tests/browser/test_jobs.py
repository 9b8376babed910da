"""Signing in, watching jobs, acting on them, signing out."""

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import MakePage, audit, fits, sign_in
from tests.e2e.running import ROOT, Running

pytestmark = pytest.mark.browser

SCRIPT = "<script>alert(1)</script>"
LOOKS = [
    {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    for scheme in ("light", "dark")
    for width in (1280, 390)
]


@pytest.fixture(scope="module")
def dataset(api: httpx.Client) -> str:
    path = Path(ROOT, "docs", "examples", "verses.txt")
    answer = api.post("/datasets", files={"file": (f"{SCRIPT}.txt", path.read_bytes())})
    return str(answer.raise_for_status().json()["id"])


def submit(api: httpx.Client, dataset: str, **more: object) -> str:
    body = {"task": "text-generation", "dataset": dataset, "preset": "small", **more}
    return str(api.post("/jobs", json=body).raise_for_status().json()["id"])


@pytest.mark.parametrize("look", LOOKS)
def test_each_page_in_both_schemes_and_widths(
    make_page: MakePage, api: httpx.Client, dataset: str, look: dict[str, object]
) -> None:
    page = make_page(**look)
    job = submit(api, dataset, model="looked-at", metadata={"note": SCRIPT})
    for path, ready in (("/", "Overview"), ("/jobs", "Jobs"), (f"/jobs/{job}", "looked-at")):
        page.goto(path)
        page.get_by_role("heading", name=ready).wait_for()
        expect(page.locator("time").first).not_to_contain_text("T00")  # in the reader's zone
        audit(page)
        fits(page)
    page.goto("/sign-in")
    audit(page)
    api.post(f"/jobs/{job}/cancel")  # the next tests need the slot; it may have ended by itself


def test_the_curve_moves_and_the_end_is_shown(page: Page, api: httpx.Client, dataset: str) -> None:
    job = submit(api, dataset, model="watched")
    page.goto(f"/jobs/{job}")
    expect(page.locator("#latest")).to_contain_text("Step", timeout=60_000)
    first = page.locator("#latest").inner_text()
    expect(page.locator("#latest")).not_to_have_text(first, timeout=60_000)
    expect(page.locator("#job .state")).to_have_text("succeeded", timeout=120_000)
    expect(page.locator("#event-list")).to_contain_text("running → succeeded")
    expect(page.locator("#loss canvas")).to_have_count(1)
    expect(page.locator("#layers tr")).not_to_have_count(0)


def test_pause_resume_cancel_and_retry(page: Page, api: httpx.Client, dataset: str) -> None:
    blocker = submit(api, dataset, model="first", training={"max_epochs": 1000})
    job = submit(api, dataset, model="second")
    page.goto(f"/jobs/{job}")
    state = page.locator("#job .state")
    expect(state).to_have_text("queued")
    page.get_by_role("button", name="Pause").click()
    expect(state).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(state).to_have_text("queued")
    with page.expect_response(lambda answer: answer.status == 204 and "/events" in answer.url):
        page.get_by_role("button", name="Cancel").click()  # and the stream of events is over
    expect(state).to_have_text("cancelled")
    events = page.locator("#event-list")
    expect(events).to_contain_text("queued → cancelled")
    page.get_by_role("button", name="Retry").click()
    expect(state).to_have_text("queued")
    expect(events).to_contain_text("cancelled → queued")  # they are followed again
    page.get_by_role("button", name="Cancel").click()
    expect(state).to_have_text("cancelled")
    api.post(f"/jobs/{blocker}/cancel").raise_for_status()


def test_what_somebody_else_did_meanwhile_is_said(
    make_page: MakePage, api: httpx.Client, dataset: str
) -> None:
    """bad_inputs dashboard-35."""
    blocker = submit(api, dataset, model="blocks", training={"max_epochs": 1000})
    job = submit(api, dataset, model="twice")
    page = make_page(watched=False)
    page.goto(f"/jobs/{job}")
    page.route("**/api/v1/changes", lambda route: route.abort())
    page.reload()
    api.post(f"/jobs/{job}/cancel").raise_for_status()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("alert")).to_contain_text("cancelled")
    api.post(f"/jobs/{blocker}/cancel").raise_for_status()


def test_names_are_text(page: Page, api: httpx.Client, dataset: str) -> None:
    """bad_inputs dashboard-01, dashboard-02."""
    page.on("dialog", lambda _: pytest.fail("a script of a name ran"))
    ugly = {
        "note": SCRIPT,
        "more": '" onmouseover="alert(1)',
        "title": "</title><svg onload=alert(1)>",
    }
    job = submit(api, dataset, model="ugly", metadata=ugly)
    page.goto(f"/jobs/{job}")
    for text in ugly.values():
        expect(page.locator("dd").get_by_text(text, exact=True)).to_be_visible()
    assert page.locator("main script, main svg[onload]").count() == 0


def test_a_service_that_is_away_is_said_and_comes_back(make_page: MakePage) -> None:
    """bad_inputs dashboard-33."""
    page = make_page(watched=False)
    page.route("**/api/v1/changes", lambda route: route.fulfill(status=503, body="{}"))
    page.reload()
    expect(page.locator("#connection")).to_contain_text("does not answer")
    page.unroute("**/api/v1/changes")
    expect(page.locator("#connection")).to_be_hidden()


def test_a_service_that_is_away_is_asked_ever_more_seldom(make_page: MakePage) -> None:
    """bad_inputs dashboard-33. Waits are from 3/4 to 5/4 of 1 s, 2 s and so on to 30 s."""
    page = make_page(watched=False)
    page.goto("about:blank")
    page.clock.install()
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.abort("connectionrefused")

    page.route("**/api/v1/changes", refuse)
    page.goto("/")
    expect(page.locator("#connection")).to_contain_text("does not answer")
    times = 2  # the stream, and what it was refused for
    for wait in (1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000):
        assert len(asked) == times
        page.clock.run_for(0.74 * wait)
        page.evaluate("fetch('/ready')")
        assert len(asked) == times
        with page.expect_event("requestfailed", lambda r: r.resource_type == "fetch"):
            page.clock.run_for(0.52 * wait)
        times += 2


def test_inline_scripts_are_blocked(make_page: MakePage) -> None:
    """bad_inputs dashboard-06."""
    page = make_page(watched=False)
    page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        " document.body.append(s); }"
    )
    assert page.evaluate("window.ran") is None


def test_signing_out_leaves_nothing_behind(make_page: MakePage) -> None:
    """bad_inputs dashboard-17, dashboard-36."""
    page = make_page()
    page.goto("/jobs")
    page.get_by_text("Signed in").click()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.get_by_label("API key").wait_for()
    page.go_back()
    page.get_by_label("API key").wait_for()
    assert page.context.cookies() == []


def test_a_page_that_signs_out_asks_for_nothing_more(make_page: MakePage) -> None:
    """It would be refused. Where signing out fails, the page goes on."""
    page = make_page(watched=False)
    held: list[Route] = []
    page.route("**/browser-sessions/current", lambda route: held.append(route))
    with page.expect_response("**/changes"):
        page.goto("/jobs")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    sign_out = page.get_by_role("button", name="Sign out", exact=True)
    news = "document.body.dispatchEvent(new CustomEvent('jobs'))"

    page.get_by_text("Signed in").click()
    with page.expect_request("**/browser-sessions/current"):
        sign_out.click()
    asked.clear()
    page.evaluate(news)
    page.wait_for_timeout(500)
    assert asked == []

    with page.expect_request("**/changes"):
        held.pop().fulfill(json={"detail": "Not now."}, status=503)
    expect(page.get_by_text("Not now.")).to_be_visible()
    with page.expect_response(lambda answer: "/jobs" in answer.url):
        page.evaluate(news)


def test_signing_out_everywhere_ends_the_other_browser(make_page: MakePage, stack: Running) -> None:
    one, other = make_page(), make_page(watched=False)  # whose requests are refused from then on
    other.goto("about:blank")  # a page would go to the sign-in by itself
    one.get_by_text("Signed in").click()
    one.get_by_role("button", name="Sign out everywhere").click()
    one.get_by_label("API key").wait_for()
    other.goto("/jobs")
    other.get_by_label("API key").wait_for()
    sign_in(other, stack)


def test_a_wrong_key_is_told_and_a_deep_link_survives_signing_in(
    make_page: MakePage, stack: Running
) -> None:
    page = make_page(signed_in=False, watched=False)
    page.goto("/jobs?state=failed")
    page.get_by_label("API key").fill("rp_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    assert stack.key is not None
    page.get_by_label("API key").fill(stack.key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Jobs").wait_for()
    assert page.url.endswith("/jobs?state=failed")


def test_by_keyboard_alone(page: Page, api: httpx.Client, dataset: str) -> None:
    """bad_inputs dashboard-39."""
    submit(api, dataset, model="by-keyboard")
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Jobs", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Jobs").wait_for()
