"""The dashboard in a real browser, against the real stack."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

from service.dashboard.build import VENDOR
from tests.browser.chromium import find_chromium
from tests.disks import place
from tests.e2e.running import Running

SERIOUS = {"serious", "critical"}
ABORTED = "net::ERR_ABORTED"  # what a page had asked for when it was left

MakePage = Callable[..., Page]


@pytest.fixture(scope="session")
def stack() -> Iterator[Running]:
    """`reprise up` with the models that come with it."""
    folder = Path(tempfile.mkdtemp(prefix="reprise-browser-", dir=place()))
    running = Running(folder / ".reprise")
    try:
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def api(stack: Running) -> Iterator[httpx.Client]:
    """The same service over HTTP."""
    headers = {"Authorization": f"Bearer {stack.key}"}
    with httpx.Client(base_url=f"{stack.url}/api/v1", headers=headers, timeout=60) as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def _nothing_goes_on(api: httpx.Client) -> Iterator[None]:
    """What a test that failed left behind would take the time of all that come after it."""
    yield
    for records in ("sweeps", "jobs"):  # a sweep would begin another job
        for record in api.get(f"/{records}").raise_for_status().json()["data"]:
            if record["state"] in ("queued", "running"):
                api.post(f"/{records}/{record['id']}/cancel")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Not for longer than a module: as long as it lives, its event loop runs in this thread, and
    tests of others could not run one."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def make_page(chromium: Browser, stack: Running) -> Iterator[MakePage]:
    """Opens a browser of its own, signed in unless told otherwise. A message in its console that is
    an error, an error of a script or a request that fails makes the test fail."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def failed(request: Request) -> None:
        if request.failure != ABORTED:
            wrong.append(f"{request.method} {request.url} failed: {request.failure}")

    def make(*, signed_in: bool = True, watched: bool = True, **options: object) -> Page:
        context = chromium.new_context(base_url=stack.url, **options)  # type: ignore[arg-type]
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        if signed_in:
            sign_in(page, stack)
        if watched:
            page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("requestfailed", failed)
        return page

    yield make
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def page(make_page: MakePage) -> Page:
    """A signed-in page at the overview."""
    return make_page()


def sign_in(page: Page, stack: Running) -> None:
    assert stack.key is not None
    page.goto("/sign-in")
    page.get_by_label("API key").fill(stack.key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Overview").wait_for()


def audit(page: Page) -> None:
    """axe-core finds nothing serious, at WCAG 2.2 AA."""
    # Through the debugger, which the page's policy does not bind.
    page.evaluate((VENDOR / "axe.min.js").read_text("utf-8") + "\n;0")
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    violations = [
        f"{each['id']}: {each['help']}: {[node['target'] for node in each['nodes']][:5]}"
        for each in found["violations"]
        if each["impact"] in SERIOUS
    ]
    assert violations == []


def fits(page: Page) -> None:
    """Nothing makes the page scroll sideways."""
    assert page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
