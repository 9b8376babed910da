"""Our pages in browsers as they are: with other sites, with many tabs, without scripts."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.chromium import find_chromium
from tests.browser.conftest import MakePage
from tests.browser.test_jobs import submit
from tests.e2e.running import ROOT, Running

pytestmark = pytest.mark.browser

NO_SCRIPTS = "--blink-settings=scriptEnabled=false"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Into no output of a test."""


@pytest.fixture
def other_site(tmp_path: Path, stack: Running) -> Iterator[str]:
    """The address of a page of another site that puts one of ours into a frame."""
    (tmp_path / "index.html").write_text(f'<iframe src="{stack.url}/sign-in"></iframe>')
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_of_another_site_shows_nothing_of_ours(make_page: MakePage, other_site: str) -> None:
    """bad_inputs dashboard-08."""
    page = make_page(signed_in=False, watched=False)
    with page.expect_console_message(lambda said: "frame-ancestors 'none'" in said.text):
        page.goto(other_site)
    expect(page.frame_locator("iframe").get_by_label("API key")).to_have_count(0)


def test_without_scripts_each_page_says_that_it_needs_them(
    make_page: MakePage, chromium: Browser, stack: Running
) -> None:
    """bad_inputs dashboard-40. Playwright's own switch leaves out what stands in <noscript>."""
    cookies = make_page().context.cookies()
    browser = chromium.browser_type.launch(
        executable_path=find_chromium(), args=["--no-sandbox", NO_SCRIPTS]
    )
    context = browser.new_context(base_url=stack.url)
    context.add_cookies(cookies)
    page = context.new_page()
    seen = context.new_cdp_session(page)
    for path in ("/sign-in", "/", "/jobs/new", "/try"):
        page.goto(path)
        nodes = seen.send("Accessibility.getFullAXTree")["nodes"]
        names = [str(node.get("name", {}).get("value")) for node in nodes]
        assert any("These pages need JavaScript" in name for name in names), path
    browser.close()


def test_tabs_that_nobody_sees_leave_connections_to_the_others(
    make_page: MakePage, api: httpx.Client
) -> None:
    """A browser has six for all tabs together: with the seventh tab nothing came any more."""
    context = make_page().context
    context.add_init_script(
        "let covered = true;"
        "Object.defineProperty(document, 'hidden', { get: () => covered });"
        "addEventListener('uncover', () => {"
        "  covered = false; document.dispatchEvent(new Event('visibilitychange')); });"
    )
    for _ in range(8):
        page = context.new_page()
        page.goto("/datasets")
        page.goto("/jobs")
        page.get_by_role("heading", name="Jobs").wait_for()
    with page.expect_request("**/api/v1/changes"):
        page.evaluate("dispatchEvent(new Event('uncover'))")
    verses = Path(ROOT, "docs", "examples", "verses.txt").read_bytes()
    dataset = api.post("/datasets", files={"file": ("verses.txt", verses)}).json()["id"]
    job = submit(api, dataset, model="seen")
    page.locator(f"#job-{job}").wait_for()
    api.post(f"/jobs/{job}/cancel")
