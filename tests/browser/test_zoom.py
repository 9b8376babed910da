"""What is left of a window of 1280 pixels at 400 % is enough for every page."""

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MakePage, audit, fits
from tests.browser.test_jobs import submit
from tests.e2e.running import ROOT

pytestmark = pytest.mark.browser

WINDOW = {"width": 320, "height": 256}


def test_every_page_is_read_without_scrolling_sideways(
    make_page: MakePage, api: httpx.Client
) -> None:
    """bad_inputs dashboard-39."""
    path = Path(ROOT, "docs", "examples", "verses.txt")
    dataset = api.post("/datasets", files={"file": ("verses.txt", path.read_bytes())}).json()["id"]
    job = submit(api, dataset, model="zoomed", training={"max_steps": 3})
    trial = {"task": "text-generation", "dataset": dataset, "model": "tried", "preset": "small"}
    space = {"training.learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}}
    body = {"job": trial, "space": space, "max_trials": 2}
    sweep = api.post("/sweeps", json=body).raise_for_status().json()["id"]
    page = make_page(viewport=WINDOW)
    for path_, title in (
        ("/", "Overview"),
        ("/datasets", "Data sets"),
        (f"/datasets/{dataset}", "verses.txt"),
        (f"/jobs/new?dataset={dataset}", "New job"),
        ("/jobs", "Jobs"),
        (f"/jobs/{job}", "zoomed"),
        (f"/compare?job={job}", "Compare jobs"),
        ("/sweeps", "Sweeps"),
        (f"/sweeps/{sweep}", "tried"),
        ("/models", "Models"),
        ("/models/starter-forecaster", "starter-forecaster"),
        ("/try?model=starter-forecaster", "Try it"),
        ("/try?model=starter-sentiment", "Try it"),
        ("/try?model=starter-english", "Try it"),
        ("/keys", "Keys"),
        ("/usage", "Usage"),
        ("/settings", "Settings"),
        ("/sign-in", "Reprise"),
    ):
        page.goto(path_)
        expect(page.get_by_role("heading", name=title, level=1)).to_be_visible()
        page.wait_for_load_state("load")
        fits(page)
        audit(page)
