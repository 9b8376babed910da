"""The pages of sweeps, without a browser; the test itself plays the controller and the worker."""

import json
import re
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from service.artifacts.store import ArtifactStore
from service.auth.subjects import Scope
from service.dashboard.sweeps import in_words
from service.db.engine import Database
from service.db.tables import Sweep
from service.settings import Settings
from service.sweeps.controller import Controller
from tests.api.conftest import MakeKey, bearer
from tests.api.job_requests import SERIES, upload
from tests.api.test_dashboard_compare import SCRIPT, Headers, page, refusal
from tests.api.test_sweeps import create, finish
from tests.sweep_records import RATE, Wakes


@pytest.fixture
def sweep(
    client: TestClient, headers: Headers, settings: Settings, database: Database
) -> dict[str, Any]:
    """Has one trial that succeeded and one that waits."""
    series = upload(client, headers, f"{SCRIPT}.csv", SERIES)
    made = create(client, headers, series)
    Controller(settings, database, ArtifactStore(settings.artifact_dir), Wakes()).tick()
    finish(database, 0.5)
    return made


def test_the_list_says_how_far_each_is(
    client: TestClient, headers: Headers, sweep: dict[str, Any]
) -> None:
    text = page(client, headers, "/sweeps")
    assert f'href="/sweeps/{sweep["id"]}"' in text
    assert "2 of 2" in text
    assert "1 queued" in text
    assert "loss 0.5" in text


def test_the_page_has_every_trial_and_draws_those_that_ended(
    client: TestClient, headers: Headers, sweep: dict[str, Any]
) -> None:
    text = page(client, headers, f"/sweeps/{sweep['id']}")
    trials = client.get(f"/api/v1/sweeps/{sweep['id']}/trials", headers=headers).json()["data"]
    assert re.findall(r'form="compare" name="job" value="(.+?)"', text) == [
        trial["job"] for trial in trials
    ]
    content = text.partition('id="drawn" type="application/json">')[2].partition("</script>")[0]
    [drawn] = json.loads(content)["trials"]
    [ended] = [trial for trial in trials if trial["state"] == "succeeded"]
    assert drawn == {name: ended[name] for name in ("number", "state", "value", "params")}
    assert 'data-ask="cancel"' in text
    job = page(client, headers, f"/jobs/{ended['job']}")
    assert f'<a href="/sweeps/{sweep["id"]}">trial 0</a>' in job


def test_what_mattered_is_shown_the_most_important_first(
    client: TestClient, headers: Headers, sweep: dict[str, Any], database: Database
) -> None:
    path = f"/sweeps/{sweep['id']}"
    assert "once ten trials have succeeded" in page(client, headers, path)
    with database.transaction() as db:
        shares = {RATE: 0.2, "architecture.cell": 0.8}
        db.get_one(Sweep, UUID(sweep["id"])).importance = shares
    bars = page(client, headers, path).partition('class="plain bars"')[2].partition("</ul>")[0]
    assert bars.index("architecture.cell") < bars.index("80 %") < bars.index(RATE)


def test_one_that_has_ended_cannot_be_cancelled_and_is_not_asked_for_again(
    client: TestClient, headers: Headers, sweep: dict[str, Any]
) -> None:
    client.post(f"/api/v1/sweeps/{sweep['id']}/cancel", headers=headers)
    text = page(client, headers, f"/sweeps/{sweep['id']}")
    assert '<span class="state cancelled">cancelled</span>' in text
    assert "data-ask" not in text
    assert "hx-get" not in text


def test_names_are_text(client: TestClient, headers: Headers, sweep: dict[str, Any]) -> None:
    """bad_inputs dashboard-01."""
    text = page(client, headers, f"/sweeps/{sweep['id']}")
    assert SCRIPT not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.csv" in text


def test_another_workspace_sees_nothing_of_it(
    client: TestClient, headers: Headers, sweep: dict[str, Any], make_key: MakeKey
) -> None:
    """bad_inputs dashboard-20."""
    other = bearer(make_key(workspace_name="other"))
    assert refusal(client, other, f"/sweeps/{sweep['id']}")[0] == 404
    assert sweep["id"] not in page(client, other, "/sweeps")
    assert refusal(client, headers, f"/sweeps/{uuid4()}")[0] == 404


def test_a_key_without_data_sets_sees_no_names_of_them(
    client: TestClient, sweep: dict[str, Any], make_key: MakeKey
) -> None:
    text = page(client, bearer(make_key([Scope.JOBS_READ])), f"/sweeps/{sweep['id']}")
    assert "alert(1)" not in text
    assert sweep["dataset"] in text


@pytest.mark.parametrize(
    ("dimension", "words"),
    [
        (
            {"type": "float", "low": 1e-4, "high": 0.1, "step": None, "log": True},
            "0.0001 to 0.1, logarithmic",
        ),
        (
            {"type": "float", "low": 0.0, "high": 0.5, "step": 0.1, "log": False},
            "0 to 0.5 in steps of 0.1",
        ),
        ({"type": "int", "low": 1, "high": 3, "step": 1, "log": False}, "1 to 3"),
        (
            {"type": "int", "low": 32, "high": 96, "step": 32, "log": False},
            "32 to 96 in steps of 32",
        ),
        ({"type": "categorical", "choices": ["lstm", None, True]}, "lstm, null, true"),
    ],
)
def test_a_choice_in_words(dimension: dict[str, Any], words: str) -> None:
    assert in_words(dimension) == words
