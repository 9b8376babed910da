"""A job is put together: with one button, by its form, as a copy of another one."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MakePage, audit, fits
from tests.e2e.running import ROOT

pytestmark = pytest.mark.browser

LOOKS = [("light", 1280), ("light", 390), ("dark", 1280), ("dark", 390)]
SLOW = 30_000


@pytest.fixture(scope="module")
def verses(api: httpx.Client) -> str:
    content = Path(ROOT, "docs", "examples", "verses.txt").read_bytes()
    answer = api.post("/datasets", files={"file": ("verses.txt", content)})
    return str(answer.raise_for_status().json()["id"])


def field(page: Page, path: str) -> Any:
    return page.locator(f'[data-path="{path}"]')


def opened(page: Page, dataset: str) -> None:
    page.goto(f"/jobs/new?dataset={dataset}")
    expect(page.locator("#parameters")).not_to_have_text("–", timeout=SLOW)


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_in_both_schemes_and_widths(
    make_page: MakePage, verses: str, scheme: str, width: int
) -> None:
    page = make_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    opened(page, verses)
    page.get_by_text("Adjust").click()
    audit(page)
    fits(page)


def test_one_button_trains(page: Page, api: httpx.Client, verses: str) -> None:
    opened(page, verses)
    page.get_by_role("button", name="Train").click()
    expect(page.locator("#job")).to_be_visible(timeout=SLOW)
    job = page.url.rpartition("/")[2]
    assert api.get(f"/jobs/{job}").json()["dataset"] == verses
    api.post(f"/jobs/{job}/cancel")


def test_only_what_was_changed_is_sent(page: Page, api: httpx.Client, verses: str) -> None:
    opened(page, verses)
    before = page.locator("#parameters").inner_text()
    page.get_by_text("Adjust").click()
    field(page, "architecture.num_layers").fill("3")
    field(page, "architecture.residual").select_option("true")
    expect(page.locator("#parameters")).not_to_have_text(before, timeout=SLOW)
    expect(page.locator("#network .cell")).to_have_count(15)
    expect(page.locator("#network .skip")).to_have_count(10)  # the first layer is wider
    with page.expect_request("**/api/v1/jobs") as sent:
        page.get_by_role("button", name="Train").click()
    assert sent.value.post_data_json == {
        "task": "text-generation",
        "dataset": verses,
        "architecture": {"num_layers": 3, "residual": True},
    }
    expect(page.locator("#job")).to_be_visible(timeout=SLOW)
    api.post(f"/jobs/{page.url.rpartition('/')[2]}/cancel")


def test_a_fault_is_shown_at_its_field(make_page: MakePage, verses: str) -> None:
    page = make_page(watched=False)  # Chromium calls the 422 an error
    opened(page, verses)
    page.get_by_text("Adjust").click()
    field(page, "architecture.hidden_size").fill("0")
    place = page.locator('[data-field="architecture.hidden_size"]')
    expect(place.locator(".fault")).to_contain_text("greater than or equal to 1", timeout=SLOW)
    expect(field(page, "architecture.hidden_size")).to_have_attribute("aria-invalid", "true")
    field(page, "architecture.hidden_size").fill("32")
    expect(place.locator(".fault")).to_have_count(0, timeout=SLOW)
    expect(page.locator("#parameters")).not_to_have_text("–", timeout=SLOW)


def test_the_same_from_a_program(page: Page, verses: str) -> None:
    opened(page, verses)
    page.get_by_text("Adjust").click()
    page.get_by_text("Job", exact=True).click()
    field(page, "metadata").fill('{"it\'s": "a \\"note\\""}')
    program = page.locator("#program")
    expect(program).to_contain_text("it'\\''s", timeout=SLOW)
    expect(program).to_contain_text('"metadata"')
    for language, words in (("python", "import httpx"), ("cli", "reprise jobs submit")):
        page.locator("#language").select_option(language)
        expect(program).to_contain_text(words)
        expect(program).to_contain_text(verses)
    expect(program).to_contain_text("--set 'metadata={\"it'\\''s\":")


def test_the_program_is_copied_or_marked(make_page: MakePage, verses: str) -> None:
    page = make_page()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(page, verses)
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#copied")).to_have_text("Copied.")
    program = page.locator("#program").inner_text()
    assert page.evaluate("navigator.clipboard.readText()") == program
    # As on a page of another machine without HTTPS.
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    opened(page, verses)
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#copied")).to_contain_text("is selected")
    assert page.evaluate("getSelection().toString()") == program


def test_a_clone_has_the_choices_of_its_job(page: Page, api: httpx.Client, verses: str) -> None:
    body = {
        "task": "text-generation",
        "dataset": verses,
        "architecture": {"hidden_size": 24, "cell": "gru"},
        "training": {"gradient_clip_norm": None},
    }
    job = api.post("/jobs", json=body).raise_for_status().json()
    page.goto(f"/jobs/{job['id']}")
    page.get_by_role("link", name="Clone").click()
    expect(page.locator("#parameters")).not_to_have_text("–", timeout=SLOW)
    page.get_by_text("Adjust").click()
    expect(field(page, "architecture.hidden_size")).to_have_value("24")
    expect(field(page, "architecture.cell")).to_have_value("gru")
    expect(page.locator('[data-null="training.gradient_clip_norm"]')).to_be_checked()
    page.get_by_role("button", name="Train").click()
    expect(page.locator("#job")).to_be_visible(timeout=SLOW)
    again = api.get(f"/jobs/{page.url.rpartition('/')[2]}").json()
    assert again["config"] == job["config"]
    for each in (job, again):
        api.post(f"/jobs/{each['id']}/cancel")


def test_another_task_keeps_what_its_form_has_too(
    page: Page, api: httpx.Client, verses: str
) -> None:
    reviews = Path(ROOT, "docs", "examples", "reviews.csv").read_bytes()
    upload = api.post("/datasets", files={"file": ("kept.csv", reviews)}).raise_for_status()
    opened(page, verses)
    page.get_by_text("Adjust").click()
    field(page, "architecture.hidden_size").fill("24")
    field(page, "architecture.softmax").select_option("mixture")
    page.get_by_text("Training", exact=True).click()
    page.locator('[data-null="training.gradient_clip_norm"]').check()
    for path in ("training.learning_rate", "architecture.tied"):
        page.get_by_role("button", name="Add a choice").click()
        page.locator("#space fieldset").last.get_by_label("Choice").select_option(path)

    page.get_by_label("Data set").select_option(upload.json()["id"])  # suits both tasks
    page.get_by_label("Task").select_option("text-classification")
    carried = page.locator("#carried")
    expect(carried).to_contain_text("What you had chosen was kept, but for these")
    expect(carried).to_contain_text("softmax (mixture)")
    expect(carried).to_contain_text("architecture.tied of the sweep")
    expect(field(page, "architecture.hidden_size")).to_have_value("24")
    expect(page.locator('[data-null="training.gradient_clip_norm"]')).to_be_checked()
    expect(page.locator("#space fieldset")).to_have_count(1)
    expect(page.locator("#parameters")).not_to_have_text("–", timeout=SLOW)
    assert page.url.endswith(f"task=text-classification&dataset={upload.json()['id']}")
    audit(page)
    with page.expect_request("**/api/v1/jobs") as sent:
        page.get_by_role("button", name="Train").click()
    assert sent.value.post_data_json == {
        "task": "text-classification",
        "dataset": upload.json()["id"],
        "architecture": {"hidden_size": 24},
        "training": {"gradient_clip_norm": None},
    }
    expect(page.locator("#job")).to_be_visible(timeout=SLOW)
    api.post(f"/jobs/{page.url.rpartition('/')[2]}/cancel")


def test_another_data_set_keeps_the_form_and_what_it_lacks_is_said(
    make_page: MakePage, api: httpx.Client
) -> None:
    page = make_page(watched=False)  # Chromium calls the 422 an error
    rows = "".join(f"{step},{step % 7}\n" for step in range(200)).encode()
    demand = Path(ROOT, "docs", "examples", "demand.csv").read_bytes()
    files = {"sales.csv": b"sold,price\n" + rows, "other.csv": demand}
    sales, other = (
        api.post("/datasets", files={"file": file}).raise_for_status().json()["id"]
        for file in files.items()
    )
    page.goto(f"/jobs/new?dataset={sales}")
    target = page.locator('[data-field="data.target_column"]')
    expect(target.locator(".fault")).to_contain_text("must be chosen", timeout=SLOW)
    field(page, "data.target_column").fill("sold")
    field(page, "architecture.hidden_size").fill("24")
    expect(page.locator("#parameters")).not_to_have_text("–", timeout=SLOW)
    page.get_by_label("Data set").select_option(other)
    expect(target.locator(".fault")).to_contain_text('"sold" is no column', timeout=SLOW)
    expect(field(page, "architecture.hidden_size")).to_have_value("24")


def test_a_task_whose_form_does_not_come_is_not_taken(make_page: MakePage, verses: str) -> None:
    page = make_page(watched=False)
    opened(page, verses)
    page.get_by_text("Adjust").click()
    field(page, "architecture.hidden_size").fill("24")
    page.route("**/jobs/new?*", lambda route: route.abort())
    page.get_by_label("Task").select_option("text-classification")
    expect(page.locator("#fault")).to_contain_text("does not answer")
    expect(page.locator("#task")).to_have_value("text-generation")
    expect(field(page, "architecture.hidden_size")).to_have_value("24")
    expect(page.get_by_role("button", name="Train")).to_be_enabled()
